"""The vocabulary of faces, once: the names that data, models, wishes and commands share, and where on a face they are.

==================== =======================================================================================
``attributes``       CelebA's forty attributes: where each is seen, its words, what it excludes, which have labels
``expressions``      eight expressions, likewise
``occluders``        what may cover a face, and which attributes it hides
``regions``          what a label map marks: ``REGIONS[label]``
``areas``            zones (boxes placed by the face), and areas: the pixels of regions and zones
``templates``        where regions are in an aligned face of which nothing else is known
``landmarks``        5, 68 or 468 points: mirrored, as polygons of regions, as a region map
``landmark_schemes`` what the points of each scheme mean
``landmark_correspondence`` the 68 points read off the 468
``region_grid``      a region map on the grid of image tokens
``names``            a name looked up, or refused with the nearest ones
==================== =======================================================================================

Nothing here needs torch, so that the processes that render and decode faces start in a moment.
"""
