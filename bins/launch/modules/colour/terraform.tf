# One colour of one app in one environment, with a state of its own: launching it can't even plan a change to the other
# colour. It holds a launch template and a group of instances of one release, and nothing of the edge.

terraform {
  required_version = ">= 1.11" # the S3 backend's own lock, use_lockfile

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }

  # Bucket, key, region and use_lockfile come from gyron-launch by -backend-config.
  backend "s3" {}
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}

locals {
  # Tags known when planning: a provider's default tags must be.
  tags = merge(var.tags, {
    "gyron:app"     = var.app
    "gyron:env"     = var.environment
    "gyron:colour"  = var.colour
    "gyron:version" = var.release
  })
}
