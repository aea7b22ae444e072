"""What FaceGPT learns from.

``conversations``: questions and answers with ``<FACE>`` or not. ``rendered``, ``backgrounds``: faces drawn with known
truth. ``movement``, ``movements``, ``one_sided_movements``, ``emotions``, ``traits``: named shapes and their words.
``wording``, ``sentences``: from shapes to words; ``descriptions``: what is said of a face that is seen.
``instructions``, ``general_questions``: what has nothing to do with faces. Their mixture is :mod:`..lessons`.
"""
