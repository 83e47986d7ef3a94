package main

import (
	"context"
	"net"
	"net/netip"

	"entente.example/internal/client"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	ententev1 "entente.example/proto/entente/v1"
)

// dial prepares a connection of the person who asks to the member's own running node. The caller closes it.
func (p *program) dial() (*client.Client, error) {
	dir, err := p.dir()
	if err != nil {
		return nil, err
	}
	config, err := node.ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	name, err := p.person(dir)
	if err != nil {
		return nil, err
	}
	return client.Dial(dir, config.Member, reachable(config.NodeListen), name)
}

// ask calls the running node once.
func (p *program) ask(ctx context.Context, call func(context.Context, ententev1.NodeServiceClient) error) error {
	c, err := p.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, limit.Call)
	defer cancel()
	return call(ctx, c.Node())
}

// reachable turns an address on which the node listens into one that can be called: "all addresses" includes loopback.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if err == nil && ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
