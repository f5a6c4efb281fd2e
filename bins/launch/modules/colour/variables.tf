# ---- what is launched, and as which colour

variable "app" {
  description = "The app's name, as in gyron.toml; also the tag gyron:app."
  type        = string
}

variable "environment" {
  description = "The environment's name, such as production; also the tag gyron:env."
  type        = string
}

variable "region" {
  description = "The AWS region everything stands in."
  type        = string
}

variable "colour" {
  description = "Which of the two colours this is; also the tag gyron:colour."
  type        = string

  validation {
    condition     = contains(["blue", "green"], var.colour)
    error_message = "The colour is blue or green."
  }
}

variable "release" {
  description = "The app's version on the image; also the tag gyron:version."
  type        = string
}

variable "name" {
  description = "The group's name, with which the launch template's begins: another one for every launch, by its key."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9()./_-]{3,100}$", var.name))
    error_message = "The name takes 3 to 100 letters, digits and ( ) . / _ -."
  }
}

variable "run" {
  description = "The run that launches; the tag gyron:run keeps the one that made the group."
  type        = string
  default     = "unknown"
}

variable "tags" {
  description = "Tags for template, group, instances and volumes, besides gyron's own. None may differ from run to run."
  type        = map(string)
  default     = {}

  validation {
    # EC2 refuses to start an instance that shows its tags to itself if a key holds anything else.
    condition     = alltrue([for key in keys(var.tags) : can(regex("^[A-Za-z0-9_+=,.@:-]{1,128}$", key))])
    error_message = "The metadata service shows tags to instances: keys take letters, digits and _ + - = , . @ : only."
  }
}

# ---- the instances

variable "image_id" {
  description = "The AMI that was baked and tested."
  type        = string
}

variable "instance_types" {
  description = "The instance types, the preferred one first; the others for when AWS has no capacity left for it."
  type        = list(string)

  validation {
    condition     = length(var.instance_types) >= 1
    error_message = "At least one instance type is needed."
  }
}

variable "subnet_ids" {
  description = "The instances' subnets; the group spreads over their availability zones."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 1
    error_message = "At least one subnet is needed."
  }
}

variable "security_group_ids" {
  description = "The instances' security groups: the edge's instance_security_group_id, and any of one's own."
  type        = list(string)
}

variable "instance_profile" {
  description = "The name of the instances' IAM instance profile. SSM, which smoke tests use, needs one."
  type        = string
  default     = null
}

variable "user_data" {
  description = "A script or cloud-config for cloud-init, as plain text. A baked image needs none."
  type        = string
  default     = ""
  nullable    = false
}

variable "root_volume" {
  description = <<-EOT
    The root volume, if it should differ from the image's: gp3, always encrypted (with the account's default key, or
    kms_key_id). device_name must be the image's root device; size in GiB, throughput in MiB/s.
  EOT
  type = object({
    device_name = optional(string, "/dev/xvda")
    size        = optional(number)
    iops        = optional(number)
    throughput  = optional(number)
    kms_key_id  = optional(string)
  })
  default = null
}

variable "metadata_hop_limit" {
  description = "How many hops the metadata service's answers live: 1 for the instance, 2 for containers on it."
  type        = number
  default     = 1
}

# ---- the group

variable "capacity" {
  description = <<-EOT
    How many instances: at least, at most, and at first (min, unless given; gyron-launch gives what the live colour has
    now). Once the group stands, how many there are at a time is not Terraform's matter.
  EOT
  type = object({
    min     = number
    max     = number
    desired = optional(number)
  })

  validation {
    condition     = var.capacity.min >= 0 && var.capacity.min <= var.capacity.max
    error_message = "The capacity's min is 0 or more, and at most its max."
  }

  validation {
    condition = try(
      var.capacity.desired == null ||
      (var.capacity.desired >= var.capacity.min && var.capacity.desired <= var.capacity.max), true
    )
    error_message = "The desired capacity lies between min and max."
  }
}

variable "target_group_arn" {
  description = "The colour's target group, from the edge's target_groups."
  type        = string
}

variable "health_check_grace_period" {
  description = "Seconds after an instance's start in which the group doesn't replace it for being unhealthy."
  type        = number
  default     = 300
}
