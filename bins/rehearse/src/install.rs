//! What a cloud needs on the machine, installed where it lacks: packages, the venv with moto and the AWS CLI, Terraform.
