"""The networks of the forerunners, as their public code and descriptions have them, for comparison only.

Every one takes windows of scaled occupancy, (windows, LS, channels), and returns their reconstruction
in the same shape and the Kullback–Leibler term of its bottleneck (scalar; 0 without one).
"""
