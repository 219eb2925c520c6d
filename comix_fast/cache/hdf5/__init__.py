"""What an HDF5 file is made of, looked through in Python before the HDF5 library opens it."""
