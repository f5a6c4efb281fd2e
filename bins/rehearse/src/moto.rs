//! moto, the control plane: started as a child, asked as any client would, read into a World.
