resource "aws_security_group" "balancer" {
  name        = "${var.name}-balancer"
  description = "The balancer of ${var.app} in ${var.environment}: asked by the world, asks the instances"
  vpc_id      = var.vpc_id
  tags        = merge(local.run_tag, { Name = "${var.name}-balancer" })
}

# Both colours' instances: they are asked by the balancer alone. Nothing opens ssh.
resource "aws_security_group" "instances" {
  name        = "${var.name}-instances"
  description = "The instances of ${var.app} in ${var.environment}: asked by the balancer, ask anyone"
  vpc_id      = var.vpc_id
  tags        = merge(local.run_tag, { Name = "${var.name}-instances" })
}

locals {
  balancer_ports = distinct(concat([tostring(local.listener_port)], var.certificate_arn == null ? [] : ["80"]))
}

resource "aws_vpc_security_group_ingress_rule" "balancer" {
  for_each = {
    for pair in setproduct(local.balancer_ports, var.allowed_cidrs) :
    join(" ", pair) => { port = tonumber(pair[0]), cidr = pair[1] }
  }

  security_group_id = aws_security_group.balancer.id
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
  tags              = local.run_tag
}

resource "aws_vpc_security_group_egress_rule" "balancer" {
  security_group_id            = aws_security_group.balancer.id
  ip_protocol                  = "tcp"
  from_port                    = var.app_port
  to_port                      = var.app_port
  referenced_security_group_id = aws_security_group.instances.id
  tags                         = local.run_tag
}

resource "aws_vpc_security_group_ingress_rule" "instances" {
  security_group_id            = aws_security_group.instances.id
  ip_protocol                  = "tcp"
  from_port                    = var.app_port
  to_port                      = var.app_port
  referenced_security_group_id = aws_security_group.balancer.id
  tags                         = local.run_tag
}

resource "aws_vpc_security_group_egress_rule" "instances" {
  security_group_id = aws_security_group.instances.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.run_tag
}
