output "group_name" {
  description = "The auto scaling group's name."
  value       = aws_autoscaling_group.release.name
}

output "group_arn" {
  description = "The auto scaling group's ARN."
  value       = aws_autoscaling_group.release.arn
}

output "launch_template_id" {
  description = "The launch template's id."
  value       = aws_launch_template.release.id
}

output "launch_template_version" {
  description = "The version of the launch template that the group starts instances from."
  value       = aws_launch_template.release.latest_version
}

output "image_id" {
  description = "The AMI that the instances start from."
  value       = aws_launch_template.release.image_id
}
