resource "aws_lb" "edge" {
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = var.internal
  subnets                    = var.subnet_ids
  security_groups            = [aws_security_group.balancer.id]
  idle_timeout               = var.idle_timeout
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  tags                       = local.run_tag
}

# The listener that production asks. Its default action never forwards: production is a rule, since a rule has an
# address of its own that a swap can modify without touching the listener.
resource "aws_lb_listener" "production" {
  load_balancer_arn = aws_lb.edge.arn
  protocol          = var.certificate_arn == null ? "HTTP" : "HTTPS"
  port              = local.listener_port
  certificate_arn   = var.certificate_arn
  ssl_policy        = var.certificate_arn == null ? null : var.ssl_policy
  tags              = local.run_tag

  default_action {
    type = "fixed-response"

    fixed_response {
      status_code  = "503"
      content_type = "text/plain"
      message_body = "no colour is live yet\n"
    }
  }
}

resource "aws_lb_listener" "redirect" {
  count = var.certificate_arn == null ? 0 : 1

  load_balancer_arn = aws_lb.edge.arn
  protocol          = "HTTP"
  port              = 80
  tags              = local.run_tag

  default_action {
    type = "redirect"

    redirect {
      protocol    = "HTTPS"
      port        = tostring(local.listener_port)
      status_code = "HTTP_301"
    }
  }

  # When a certificate comes later, production leaves port 80 first.
  depends_on = [aws_lb_listener.production]
}

# The production rule. Both weights are 0 as long as no colour is live: ELB then answers 503, and yet checks the health
# of both groups' targets. From the first swap on, its action belongs to gyron-swap alone.
resource "aws_lb_listener_rule" "production" {
  listener_arn = aws_lb_listener.production.arn
  priority     = var.production_priority
  tags         = merge(local.run_tag, { Name = "${var.name}-production" })

  condition {
    path_pattern {
      values = ["/*"]
    }
  }

  action {
    type = "forward"

    forward {
      dynamic "target_group" {
        for_each = aws_lb_target_group.colour

        content {
          arn    = target_group.value.arn
          weight = 0
        }
      }

      # As ELB itself describes it. On, it would be stronger than the weights, and a swap would not move everybody.
      stickiness {
        enabled  = false
        duration = 3600
      }
    }
  }

  lifecycle {
    ignore_changes = [action]
  }
}

# Who knows the secret reaches the colour that he names, whatever the weights are: the way of smoke tests.
resource "aws_lb_listener_rule" "test" {
  for_each = local.colours

  listener_arn = aws_lb_listener.production.arn
  priority     = var.test_priorities[each.key]
  tags         = merge(local.run_tag, { Name = "${var.name}-test-${each.key}", "gyron:colour" = each.key })

  condition {
    http_header {
      http_header_name = var.test_colour_header
      values           = [each.key]
    }
  }

  condition {
    http_header {
      http_header_name = var.test_secret_header
      values           = [var.test_secret]
    }
  }

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.colour[each.key].arn
  }
}
