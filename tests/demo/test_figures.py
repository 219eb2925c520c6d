"""The people of the demo: lengths stay lengths, motion repeats, feet stay on the ground."""

import numpy as np
import pytest

from comix_fast.demo.figures import ACTIONS, AT_EASE, JOINTS, Clothes, Limb, Manner, limbs_of, motion, turned
from comix_fast.demo.scenes import Camera, Light, paint_people, unit

GREY = (128.0, 128.0, 128.0)
PLAIN = Clothes(GREY, GREY, GREY, GREY, GREY, GREY, GREY)
NATURAL = Manner(pace=1.0, vigour=1.0, phase=0.0)


def poses(name: str, n: int = 48) -> np.ndarray:
    action = ACTIONS[name]
    return motion(action, NATURAL, np.linspace(0.0, action.period, n, endpoint=False))


@pytest.mark.parametrize("name", list(ACTIONS))
def test_limbs_keep_their_lengths_whatever_the_pose(name: str) -> None:
    lengths = [
        [np.linalg.norm(limb.end - limb.start) for limb in limbs_of(pose, PLAIN, girth=1.0)] for pose in poses(name)
    ]
    bent = [2, 5, 8, 10]  # shoes and the neck, which give a little, and the hair on a bent head
    bodies = np.delete(np.array(lengths), bent, axis=1)
    assert bodies.shape == (48, 13)
    assert np.ptp(bodies, axis=0).max() < 1e-9


@pytest.mark.parametrize("name", list(ACTIONS))
def test_motion_repeats_and_runs_through_its_keys(name: str) -> None:
    action = ACTIONS[name]
    phases = np.array([phase for phase, _ in action.keys])
    angles = motion(action, NATURAL, phases * action.period)
    for row, (_, pose) in zip(angles, action.keys, strict=True):
        assert row == pytest.approx([pose.get(joint, AT_EASE[joint]) for joint in JOINTS])
    seconds = np.linspace(0.0, action.period, 9)
    assert motion(action, NATURAL, seconds + action.period) == pytest.approx(motion(action, NATURAL, seconds))


@pytest.mark.parametrize("name", list(ACTIONS))
def test_the_lower_foot_is_on_the_ground_but_in_a_jump(name: str) -> None:
    soles = []
    for pose in poses(name):
        limbs = limbs_of(pose, PLAIN, girth=1.0, planted=True)
        soles.append(min(limbs[i].start[1] - limbs[i].start_radius for i in (2, 5)))
    assert min(soles) == pytest.approx(0.0, abs=0.02)
    assert (max(soles) > 0.15) == (name == "jump")


def test_turning_takes_the_way_one_faces_to_the_right() -> None:
    assert turned(np.array([0.0, 2.0, 1.0]), 90.0) == pytest.approx([1.0, 2.0, 0.0])


def test_the_camera_measures_people_in_pictures() -> None:
    camera = Camera(size=200, height=0.5, distance=4.0, zoom=0.7)
    points, scale = camera.project(np.array([[0.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 2.0]]))
    assert points[:3] == pytest.approx(np.array([[100, 100], [100, 30], [170, 100]]))
    assert scale == pytest.approx([140, 140, 140, 280])  # half as far away, twice as large


def test_a_nearer_limb_hides_a_farther_one() -> None:
    camera, light = Camera(64, 0.5, 4.0, 0.8), Light(unit(0.0, 0.0, 1.0), 1.0)
    across, upright = np.array([0.3, 0.0, 0.0]), np.array([0.0, 0.3, 0.0])
    middle, ahead = np.array([0.0, 0.5, 0.0]), np.array([0.0, 0.5, 0.3])
    red = Limb(middle - across, middle + across, 0.1, 0.1, (255.0, 0.0, 0.0))
    blue = Limb(ahead - upright, ahead + upright, 0.1, 0.1, (0.0, 0.0, 255.0))
    for order in ([red, blue], [blue, red]):
        picture = np.full((64, 64, 3), 40.0, dtype=np.float32)
        paint_people(picture, order, camera, light)
        assert picture[32, 32] == pytest.approx([0.0, 0.0, 255.0], abs=3.0)
        assert picture[32, 46] == pytest.approx([255.0, 0.0, 0.0], abs=3.0)
        assert picture[2, 2] == pytest.approx([40.0, 40.0, 40.0])
