output "balancer_arn" {
  description = "The balancer's ARN."
  value       = aws_lb.edge.arn
}

output "balancer_arn_suffix" {
  description = "The balancer as CloudWatch names it, in the dimension LoadBalancer."
  value       = aws_lb.edge.arn_suffix
}

output "dns_name" {
  description = "The balancer's name in the DNS."
  value       = aws_lb.edge.dns_name
}

output "zone_id" {
  description = "The balancer's hosted zone, for an alias record of the app's own name."
  value       = aws_lb.edge.zone_id
}

output "url" {
  description = "Where production is asked, without a path."
  value = join("", [
    "${lower(aws_lb_listener.production.protocol)}://${aws_lb.edge.dns_name}",
    local.listener_port == local.default_port ? "" : ":${local.listener_port}",
  ])
}

output "listener_arn" {
  description = "The production listener's ARN."
  value       = aws_lb_listener.production.arn
}

output "production_rule_arn" {
  description = "The ARN of the rule whose weights say which colour is live."
  value       = aws_lb_listener_rule.production.arn
}

output "test_rule_arns" {
  description = "By colour: the ARN of the rule by which tests reach it."
  value       = { for colour, rule in aws_lb_listener_rule.test : colour => rule.arn }
}

output "target_groups" {
  description = "By colour: the target group's arn, name and arn_suffix (CloudWatch's dimension TargetGroup)."
  value = {
    for colour, group in aws_lb_target_group.colour :
    colour => { arn = group.arn, name = group.name, arn_suffix = group.arn_suffix }
  }
}

output "balancer_security_group_id" {
  description = "The balancer's security group."
  value       = aws_security_group.balancer.id
}

output "instance_security_group_id" {
  description = "The security group that both colours' instances must have to be reached by the balancer."
  value       = aws_security_group.instances.id
}

output "app_port" {
  description = "The instances' port that the balancer asks."
  value       = var.app_port
}

output "test_colour_header" {
  description = "The request header by which a test names its colour."
  value       = var.test_colour_header
}

output "test_secret_header" {
  description = "The request header that carries the secret."
  value       = var.test_secret_header
}

output "test_secret" {
  description = "The secret itself, so that applying the edge again can keep it."
  value       = var.test_secret
  sensitive   = true
}
