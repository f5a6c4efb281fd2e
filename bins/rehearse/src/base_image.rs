//! The base images: a distribution as bare as its cloud image, built once by mmdebstrap and kept.
