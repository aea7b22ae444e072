"""The vocabulary of faces, once: attributes, expressions, regions, areas, landmarks, and regions on the token grid."""
