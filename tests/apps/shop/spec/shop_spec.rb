# frozen_string_literal: true

# What must be true of a server booted from the image, before any of its kind is launched.

require 'json'
require 'net/http'
require 'spec_helper'

describe 'the packages' do
  %w[nginx gunicorn].each do |name|
    describe package(name) do
      it { should be_installed }
    end
  end
end

describe 'the services' do
  %w[nginx shop].each do |name|
    describe service(name) do
      it { should be_enabled }
      it { should be_running }
    end
  end

  describe command('systemctl --failed --no-legend --plain') do
    its(:stdout) { should eq '' }
  end
end

describe 'the web server' do
  describe port(80) do
    it { should be_listening.with('tcp') }
  end

  describe command('nginx -t') do
    its(:exit_status) { should eq 0 }
  end

  describe file('/etc/nginx/sites-enabled/default') do
    it { should_not exist }
  end
end

describe 'the release' do
  describe user('shop') do
    it { should exist }
    it { should have_login_shell '/usr/sbin/nologin' }
  end

  describe file('/srv/shop/app/shop.py') do
    it { should be_owned_by 'root' }
    it { should_not be_writable.by('others') }
  end

  describe file('/srv/shop/VERSION') do
    its(:content) { should match(/\A\S+\n\z/) }
  end
end

describe 'the shop' do
  let(:version) { File.read('/srv/shop/VERSION').strip }

  def get(path)
    Net::HTTP.get_response(URI("http://127.0.0.1#{path}"))
  end

  it 'is healthy, in the version of this image' do
    answer = get('/health')
    expect(answer.code).to eq '200'
    expect(JSON.parse(answer.body)).to include('status' => 'ok', 'version' => version)
  end

  it 'says its version as plain text' do
    expect(get('/version').body).to eq "#{version}\n"
  end

  it 'shows its page' do
    expect(get('/').body).to include 'The Corner Shop'
  end

  it 'has no other page' do
    expect(get('/nowhere').code).to eq '404'
  end
end
