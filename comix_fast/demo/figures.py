"""Articulated people that act: key poses, the motion between them, and the limbs of a body.

Everything is in a person's own frame: x to their left, y up, z the way they face, the ground at y = 0, and
lengths in body heights. Joint angles are degrees. A pose is a mapping from joint to angle; joints not named
take the value of a person standing at ease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Array = NDArray[np.float64]
Colour = tuple[float, float, float]

AT_EASE: Mapping[str, float] = {
    "left_arm_flex": 0.0,  # forwards
    "left_arm_raise": 9.0,  # sideways
    "left_fore_flex": 14.0,
    "left_fore_raise": 5.0,
    "right_arm_flex": 0.0,
    "right_arm_raise": 9.0,
    "right_fore_flex": 14.0,
    "right_fore_raise": 5.0,
    "left_thigh": 2.0,  # forwards
    "left_spread": 5.0,  # sideways
    "left_knee": 4.0,
    "right_thigh": 2.0,
    "right_spread": 5.0,
    "right_knee": 4.0,
    "lean": 0.0,  # forwards
    "sway": 0.0,  # to the left
    "twist": 0.0,  # of the shoulders against the hips
    "lift": 0.0,  # of the lower foot above the ground, in hundredths of a body height
}
JOINTS = tuple(AT_EASE)
SIDES: Mapping[str, float] = {"left": 1.0, "right": -1.0}


@dataclass(frozen=True)
class Action:
    """A movement that repeats.

    keys: (phase in [0, 1), pose) in order of phase; a smooth closed curve runs through them.
    period: seconds of one repetition at a natural pace.
    yaws: the range of angles at which people turn to the camera, degrees; 0 faces it.
    turns: full turns of the whole body per repetition.
    travel: body heights per second, the way the person faces; the feet are then not held in place.
    """

    keys: tuple[tuple[float, Mapping[str, float]], ...]
    period: float
    yaws: tuple[float, float]
    turns: float = 0.0
    travel: float = 0.0


def _both(**angles: float) -> dict[str, float]:
    return {f"{side}_{joint}": angle for side in ("left", "right") for joint, angle in angles.items()}


_WAVE = {"right_arm_raise": 105.0, "right_arm_flex": 10.0, "right_fore_flex": 0.0}
_SQUAT = _both(thigh=98, knee=118, spread=14, arm_flex=88, arm_raise=8, fore_flex=92) | {"lean": 34.0}
_CROUCH = _both(thigh=58, knee=92, arm_flex=-45, fore_flex=-25) | {"lean": 30.0}
_FLYING = _both(thigh=-4, knee=16, arm_flex=165, fore_flex=172, arm_raise=14) | {"lift": 21.0}
_LANDING = _both(thigh=36, knee=58, arm_flex=55, fore_flex=70) | {"lean": 18.0}
_CHAMBER = {
    "right_thigh": 62.0,
    "right_knee": 98.0,
    "lean": -6.0,
    "left_arm_flex": 40.0,
    "left_fore_flex": 95.0,
}
_KICK = {
    "right_thigh": 98.0,
    "right_knee": 8.0,
    "lean": -20.0,
    "left_knee": 12.0,
    "left_thigh": 8.0,
    "left_arm_flex": 55.0,
    "left_fore_flex": 80.0,
    "right_arm_flex": -30.0,
    "right_arm_raise": 35.0,
    "right_fore_flex": -5.0,
}
_WOUND = {
    "right_thigh": -22.0,
    "right_knee": 45.0,
    "lean": 8.0,
    "right_arm_flex": 30.0,
    "left_arm_flex": -25.0,
}
_OPEN = _both(arm_raise=88, fore_raise=92, arm_flex=0, fore_flex=8)


def _stride(front: str, back: str) -> dict[str, float]:
    return {
        f"{front}_thigh": 27.0,
        f"{front}_knee": 6.0,
        f"{back}_thigh": -22.0,
        f"{back}_knee": 20.0,
        f"{front}_arm_flex": -28.0,
        f"{front}_fore_flex": -8.0,
        f"{back}_arm_flex": 28.0,
        f"{back}_fore_flex": 52.0,
        "lean": 4.0,
        "twist": 7.0 if front == "right" else -7.0,
    }


def _passing(standing: str, swinging: str) -> dict[str, float]:
    return {
        f"{standing}_thigh": 2.0,
        f"{standing}_knee": 4.0,
        f"{swinging}_thigh": 22.0,
        f"{swinging}_knee": 58.0,
    }


ACTIONS: Mapping[str, Action] = {
    "wave": Action(
        (
            (0.0, _WAVE | {"right_fore_raise": 142.0, "sway": -2.0}),
            (0.5, _WAVE | {"right_fore_raise": 212.0, "sway": 2.0}),
        ),
        period=0.75,
        yaws=(-30, 30),
    ),
    "jump": Action(
        ((0.0, {}), (0.26, _CROUCH), (0.5, _FLYING), (0.58, _FLYING | {"lift": 19.0}), (0.76, _LANDING)),
        period=1.2,
        yaws=(-50, 50),
    ),
    "squat": Action(
        ((0.0, _both(arm_flex=30, fore_flex=40)), (0.1, _both(arm_flex=36, fore_flex=46)), (0.55, _SQUAT)),
        period=1.45,
        yaws=(25, 70),
    ),
    "kick": Action(
        ((0.0, {}), (0.2, _WOUND), (0.38, _CHAMBER), (0.5, _KICK), (0.64, _CHAMBER), (0.82, {})),
        period=1.15,
        yaws=(40, 80),
    ),
    "walk": Action(
        (
            (0.0, _stride("left", "right")),
            (0.25, _passing("left", "right")),
            (0.5, _stride("right", "left")),
            (0.75, _passing("right", "left")),
        ),
        period=1.0,
        yaws=(72, 105),
        travel=0.26,
    ),
    "spin": Action(
        ((0.0, _OPEN), (0.5, _OPEN | {"left_thigh": 14.0, "left_knee": 30.0, "sway": 3.0})),
        period=1.25,
        yaws=(-180, 180),
        turns=1.0,
    ),
}


@dataclass(frozen=True)
class Manner:
    """How one person performs an action: pace (1 is natural), vigour (1 is the key poses), first phase."""

    pace: float
    vigour: float
    phase: float


@dataclass(frozen=True)
class Clothes:
    """Colours, RGB 0 to 255; a garment of the skin's colour is bare."""

    skin: Colour
    hair: Colour
    shirt: Colour
    sleeves: Colour
    trousers: Colour
    shins: Colour
    shoes: Colour


@dataclass(frozen=True)
class Limb:
    """A rounded, tapered tube from one end to the other: ends [3], radii there, colour 0 to 255.

    nearer: it is drawn as if this much closer to the camera (a shirt lies over trousers).
    """

    start: Array
    end: Array
    start_radius: float
    end_radius: float
    colour: Colour
    nearer: float = 0.0

    def moved(self, shift: Array) -> Limb:
        return replace(self, start=self.start + shift, end=self.end + shift)


def motion(action: Action, manner: Manner, seconds: Array) -> Array:
    """Joint angles over time: [len(seconds), len(JOINTS)], degrees, on a periodic spline of the keys."""
    phases = [phase for phase, _ in action.keys]
    ease = np.array([AT_EASE[joint] for joint in JOINTS])
    poses = np.array([[pose.get(joint, AT_EASE[joint]) for joint in JOINTS] for _, pose in action.keys])
    poses = ease + manner.vigour * (poses - ease)
    curve = CubicSpline([*phases, 1.0], np.vstack([poses, poses[:1]]), bc_type="periodic")
    angles: Array = curve((seconds * manner.pace / action.period + manner.phase) % 1.0)
    return angles


def _along(flex: float, side: float) -> Array:
    """The unit vector of a hanging limb raised `flex` degrees forwards and `side` degrees to the left."""
    f, s = np.radians([flex, side])
    return np.array([np.sin(s), -np.cos(s) * np.cos(f), np.cos(s) * np.sin(f)])


def turned(points: Array, degrees: float) -> Array:
    """Points [..., 3] turned about the vertical axis, counter-clockwise seen from above."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rotated: Array = points @ np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
    return rotated


def limbs_of(angles: Array, clothes: Clothes, girth: float, *, planted: bool = True) -> list[Limb]:
    """The limbs of a person in one pose, 17 of them, in the person's own frame.

    angles: [len(JOINTS)] degrees. girth: thickness against an average build.
    planted: the lower foot stays at the origin, else the hips stay above it.
    """
    joint = dict(zip(JOINTS, angles.tolist(), strict=True))
    legs = [_leg(joint, side, clothes, girth) for side in SIDES]
    ankles = np.array([shin.end for _, shin, _ in legs])
    heights = ankles[:, 1] - ankles[:, 1].min()
    weights = np.exp(-heights / 0.03)
    foot = weights @ ankles / weights.sum()
    shift = np.array([-foot[0], 0.0, -foot[2]]) if planted else np.zeros(3)
    shift[1] = 0.045 - ankles[:, 1].min() + max(0.0, joint["lift"]) / 100.0
    limbs = [limb for leg in legs for limb in leg]
    limbs += _trunk(joint, clothes, girth)
    limbs += [limb for side in SIDES for limb in _arm(joint, side, clothes, girth)]
    return [limb.moved(shift) for limb in limbs]


def _leg(joint: Mapping[str, float], side: str, clothes: Clothes, girth: float) -> list[Limb]:
    sign = SIDES[side]
    thigh, spread = joint[f"{side}_thigh"], sign * joint[f"{side}_spread"]
    shin = thigh - joint[f"{side}_knee"]
    hip = np.array([sign * 0.05, 0.0, 0.0])
    knee = hip + 0.245 * _along(thigh, spread)
    ankle = knee + 0.235 * _along(shin, 0.4 * spread)
    # A foot is at right angles to its shin in the air and flat on the ground.
    other = "right" if side == "left" else "left"
    raised = np.clip((joint[f"{side}_thigh"] - joint[f"{other}_thigh"]) / 40.0 - 0.2, 0.0, 1.0)
    raised = max(raised, np.clip(joint["lift"] / 8.0, 0.0, 1.0), np.clip(-shin / 50.0 - 0.6, 0.0, 1.0))
    rise = np.radians(shin * raised)
    toe = ankle + 0.09 * np.array([sign * 0.2, np.sin(rise), np.cos(rise)])
    heel = ankle + np.array([0.0, -0.014, -0.014 * np.cos(rise)])
    return [
        Limb(hip, knee, 0.064 * girth, 0.046 * girth, clothes.trousers),
        Limb(knee, ankle, 0.044 * girth, 0.028 * girth, clothes.shins),
        Limb(heel, toe + np.array([0.0, -0.02, 0.0]), 0.03, 0.022, clothes.shoes),
    ]


def _upwards(joint: Mapping[str, float]) -> Array:
    """The direction of the spine, a unit vector."""
    x, z = np.sin(np.radians(joint["sway"])), np.sin(np.radians(joint["lean"]))
    return np.array([x, np.sqrt(max(1e-6, 1.0 - x * x - z * z)), z])


def _arm(joint: Mapping[str, float], side: str, clothes: Clothes, girth: float) -> list[Limb]:
    sign = SIDES[side]
    out = turned(np.array([0.122 * (0.6 + 0.4 * girth), 0.0, 0.0]), joint["twist"])
    shoulder = 0.275 * _upwards(joint) + sign * out
    elbow = shoulder + 0.165 * _along(joint[f"{side}_arm_flex"], sign * joint[f"{side}_arm_raise"])
    fore = _along(joint[f"{side}_fore_flex"], sign * joint[f"{side}_fore_raise"])
    wrist = elbow + 0.14 * fore
    return [
        Limb(shoulder, elbow, 0.043 * girth, 0.034 * girth, clothes.shirt),
        Limb(elbow, wrist, 0.032 * girth, 0.022 * girth, clothes.sleeves),
        Limb(wrist, wrist + 0.045 * fore, 0.024, 0.02, clothes.skin),
    ]


def _trunk(joint: Mapping[str, float], clothes: Clothes, girth: float) -> list[Limb]:
    up = _upwards(joint)
    upright = up + np.array([0.0, 1.0, 0.0])
    upright /= np.linalg.norm(upright)
    neck = 0.30 * up
    head = neck + 0.105 * upright
    behind = np.array([0.0, 0.0, -0.018])
    return [
        Limb(-0.01 * up, 0.04 * up, 0.082 * girth, 0.082 * girth, clothes.trousers),
        Limb(0.035 * up, 0.205 * up, 0.082 * girth, 0.106 * girth, clothes.shirt, nearer=0.03),
        Limb(neck - 0.02 * up, head, 0.034, 0.03, clothes.skin),
        Limb(head, head + 0.035 * upright, 0.05, 0.055, clothes.skin),
        Limb(head + behind, head + 0.048 * upright + 0.7 * behind, 0.05, 0.056, clothes.hair),
    ]
