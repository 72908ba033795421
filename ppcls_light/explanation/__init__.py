"""Heat maps: the parts of an image that speak for a class, by methods that look inside a network or only ask it.

`heat_maps.heat_maps` makes them of a network, `black_box.heat_maps_of` of anything that gives probabilities, and
`overlay.overlay` lays one over its picture.
"""
