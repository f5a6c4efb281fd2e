# ---- whose edge this is

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

variable "name" {
  description = "The balancer's name and the beginning of its groups' names: unique in account and region."
  type        = string

  validation {
    # 32 characters are the limit of a balancer's and a target group's name, "-green" takes six of them.
    condition     = can(regex("^[A-Za-z0-9]([A-Za-z0-9-]{0,24}[A-Za-z0-9])?$", var.name))
    error_message = "The name takes 1 to 26 letters, digits and inner hyphens."
  }

  validation {
    condition     = !startswith(var.name, "internal-")
    error_message = "ELB keeps names that begin with internal- to itself."
  }
}

variable "run" {
  description = "The run that applies this; the tag gyron:run keeps the one that made the edge."
  type        = string
  default     = "unknown"
}

variable "tags" {
  description = "Tags for every resource, besides gyron's own. None may differ from run to run."
  type        = map(string)
  default     = {}
}

# ---- where it stands

variable "vpc_id" {
  description = "The VPC of balancer and instances."
  type        = string
}

variable "subnet_ids" {
  description = "The balancer's subnets, in at least two availability zones: public ones, unless it is internal."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "An application load balancer needs subnets in at least two availability zones."
  }
}

variable "internal" {
  description = "Whether the balancer has private addresses only."
  type        = bool
  default     = false
}

variable "allowed_cidrs" {
  description = "The IPv4 ranges that may ask the balancer."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

# ---- the balancer and its listeners

variable "idle_timeout" {
  description = "Seconds for which a connection may be silent. The app must keep its own connections open for longer."
  type        = number
  default     = 60
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the balancer."
  type        = bool
  default     = false
}

variable "listener_port" {
  description = "The production listener's port; null for 443 with a certificate, and 80 without."
  type        = number
  default     = null
}

variable "certificate_arn" {
  description = "The ACM certificate: production is then HTTPS, and 80 redirects there; without, it is HTTP."
  type        = string
  default     = null
}

variable "ssl_policy" {
  description = "The security policy of HTTPS; means nothing without a certificate."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-2021-06"
}

variable "production_priority" {
  description = "The production rule's priority. Smaller numbers that gyron leaves free are for rules of one's own."
  type        = number
  default     = 1000

  validation {
    condition     = var.production_priority >= 1 && var.production_priority <= 50000
    error_message = "A rule's priority is 1 to 50000."
  }
}

variable "test_priorities" {
  description = "The priorities of the two rules by which tests reach one colour, before the production rule."
  type        = object({ blue = number, green = number })
  default     = { blue = 1, green = 2 }

  validation {
    condition     = max(values(var.test_priorities)...) < var.production_priority
    error_message = "The rules for tests must have smaller numbers than the production rule."
  }

  validation {
    condition     = var.test_priorities.blue != var.test_priorities.green
    error_message = "Two rules can't share a priority."
  }
}

# ---- the way in for tests

variable "test_colour_header" {
  description = "The request header by which a test names the colour that it wants: blue or green."
  type        = string
  default     = "x-gyron-colour"
}

variable "test_secret_header" {
  description = "The request header that proves that a test may choose."
  type        = string
  default     = "x-gyron-secret"
}

variable "test_secret" {
  description = "The value of the secret header. It also stands in the state, and in what DescribeRules answers."
  type        = string
  sensitive   = true

  validation {
    # ELB reads * and ? as wildcards in a header's value, and compares without regard to case.
    condition     = can(regex("^[A-Za-z0-9_-]{16,128}$", var.test_secret))
    error_message = "The secret takes 16 to 128 letters, digits, hyphens and underscores."
  }
}

# ---- the target groups

variable "app_port" {
  description = "The instances' port that speaks HTTP. Another port needs another edge: a target group can't change it."
  type        = number
  default     = 80
}

variable "health_check" {
  description = <<-EOT
    How the balancer asks a target whether it is healthy: the path, the status codes that say yes (200, 200-299 or
    200,204), the seconds between two questions and for an answer, and how many answers in a row decide.
  EOT
  type = object({
    path                = optional(string, "/health")
    matcher             = optional(string, "200")
    interval            = optional(number, 5)
    timeout             = optional(number, 4)
    healthy_threshold   = optional(number, 2)
    unhealthy_threshold = optional(number, 2)
  })
  default  = {}
  nullable = false

  validation {
    condition     = var.health_check.interval >= 5 && var.health_check.interval <= 300
    error_message = "The interval is 5 to 300 seconds."
  }

  validation {
    condition     = var.health_check.timeout >= 2 && var.health_check.timeout < var.health_check.interval
    error_message = "The timeout is 2 seconds or more, and shorter than the interval."
  }

  validation {
    condition = alltrue([
      for threshold in [var.health_check.healthy_threshold, var.health_check.unhealthy_threshold] :
      threshold >= 2 && threshold <= 10
    ])
    error_message = "A threshold is 2 to 10."
  }
}

variable "deregistration_delay" {
  description = "Seconds for which a deregistered target may finish its requests."
  type        = number
  default     = 30

  validation {
    condition     = var.deregistration_delay >= 0 && var.deregistration_delay <= 3600
    error_message = "The delay is 0 to 3600 seconds."
  }
}
