# The edge of one app in one environment: what stays while releases come and go. Applied once by `gyron-launch edge`,
# with a state of its own. It holds no instance, and no launch ever changes it.

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
    tags = merge(var.tags, {
      "gyron:app" = var.app
      "gyron:env" = var.environment
    })
  }
}

# Remembers the run that made the edge, so that applying it again from another run changes no tag.
resource "terraform_data" "created" {
  input = var.run

  lifecycle {
    ignore_changes = [input]
  }
}

locals {
  colours = toset(["blue", "green"])

  default_port  = var.certificate_arn == null ? 80 : 443
  listener_port = coalesce(var.listener_port, local.default_port)

  run_tag = { "gyron:run" = coalesce(terraform_data.created.output, "unknown") }
}
