# One for each colour, for good: releases register in it and leave it.
resource "aws_lb_target_group" "colour" {
  for_each = local.colours

  name                 = "${var.name}-${each.key}"
  vpc_id               = var.vpc_id
  target_type          = "instance"
  protocol             = "HTTP"
  protocol_version     = "HTTP1"
  port                 = var.app_port
  deregistration_delay = var.deregistration_delay
  slow_start           = 0 # does nothing where no target is warm, as in a fresh colour

  health_check {
    protocol            = "HTTP"
    port                = "traffic-port"
    path                = var.health_check.path
    matcher             = var.health_check.matcher
    interval            = var.health_check.interval
    timeout             = var.health_check.timeout
    healthy_threshold   = var.health_check.healthy_threshold
    unhealthy_threshold = var.health_check.unhealthy_threshold
  }

  tags = merge(local.run_tag, { "gyron:colour" = each.key })
}
