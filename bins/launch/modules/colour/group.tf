# What the instances are made of. A change here replaces the group as a whole: a running server is never changed, and a
# colour never holds two kinds of them.
resource "terraform_data" "body" {
  input = sha256(jsonencode([
    var.image_id,
    var.instance_types,
    sort(var.security_group_ids),
    var.instance_profile,
    var.user_data,
    var.root_volume,
    var.metadata_hop_limit,
    var.release,
  ]))
}

# Remembers the run that made this group, so that launching the same release again from another run changes no tag.
resource "terraform_data" "created" {
  input            = var.run
  triggers_replace = [var.name, terraform_data.body.input]

  lifecycle {
    ignore_changes = [input]
  }
}

locals {
  run_tag       = { "gyron:run" = coalesce(terraform_data.created.output, "unknown") }
  instance_tags = merge(local.tags, local.run_tag, { Name = var.name })
}

resource "aws_launch_template" "release" {
  # A prefix: an apply that is killed here leaves a template no state knows, and a second try would meet its name.
  name_prefix            = "${var.name}-"
  description            = "${var.app} ${var.release}, ${var.environment} ${var.colour}"
  update_default_version = true

  image_id               = var.image_id
  instance_type          = var.instance_types[0]
  vpc_security_group_ids = var.security_group_ids
  user_data              = var.user_data == "" ? null : base64encode(var.user_data)
  tags                   = local.run_tag

  # No key pair: nobody logs in.

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required" # IMDSv2 only
    http_put_response_hop_limit = var.metadata_hop_limit
    instance_metadata_tags      = "enabled" # an instance can ask for its own app, version and colour
  }

  dynamic "iam_instance_profile" {
    for_each = var.instance_profile[*]

    content {
      name = iam_instance_profile.value
    }
  }

  dynamic "block_device_mappings" {
    for_each = var.root_volume[*]

    content {
      device_name = block_device_mappings.value.device_name

      ebs {
        volume_type           = "gp3"
        volume_size           = block_device_mappings.value.size
        iops                  = block_device_mappings.value.iops
        throughput            = block_device_mappings.value.throughput
        encrypted             = "true"
        kms_key_id            = block_device_mappings.value.kms_key_id
        delete_on_termination = "true"
      }
    }
  }

  # The provider's default tags don't reach what a launch template starts.
  dynamic "tag_specifications" {
    for_each = ["instance", "volume"]

    content {
      resource_type = tag_specifications.value
      tags          = local.instance_tags
    }
  }

  lifecycle {
    # Settled with the release: a change of tags alone makes no new version. The endpoint may also describe the
    # template's own tags as one of these.
    ignore_changes       = [tag_specifications]
    replace_triggered_by = [terraform_data.body]
  }
}

resource "aws_autoscaling_group" "release" {
  name                = var.name
  vpc_zone_identifier = var.subnet_ids
  target_group_arns   = [var.target_group_arn]

  min_size         = var.capacity.min
  max_size         = var.capacity.max
  desired_capacity = coalesce(var.capacity.desired, var.capacity.min)

  health_check_type         = "ELB"
  health_check_grace_period = var.health_check_grace_period

  # gyron waits itself, and sees why a target isn't healthy; the provider would only see a count.
  wait_for_capacity_timeout = "0"

  # An idle colour has nobody to wait for when it goes.
  force_delete = true

  dynamic "launch_template" {
    for_each = length(var.instance_types) == 1 ? [aws_launch_template.release] : []

    content {
      id      = launch_template.value.id
      version = launch_template.value.latest_version
    }
  }

  dynamic "mixed_instances_policy" {
    for_each = length(var.instance_types) > 1 ? [aws_launch_template.release] : []

    content {
      instances_distribution {
        on_demand_allocation_strategy            = "prioritized"
        on_demand_base_capacity                  = 0
        on_demand_percentage_above_base_capacity = 100
      }

      launch_template {
        launch_template_specification {
          launch_template_id = mixed_instances_policy.value.id
          version            = mixed_instances_policy.value.latest_version
        }

        dynamic "override" {
          for_each = var.instance_types

          content {
            instance_type = override.value
          }
        }
      }
    }
  }

  dynamic "tag" {
    for_each = local.instance_tags

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # Scaling policies and gyron's own retirement move it; a replaced group takes it from the configuration again.
    ignore_changes       = [desired_capacity]
    replace_triggered_by = [terraform_data.body]
  }
}
