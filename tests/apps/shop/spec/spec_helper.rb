# frozen_string_literal: true

require 'serverspec'

# gyron runs the specs on the instance itself, so there is nothing to connect to.
set :backend, :exec
