package main

import (
	"context"
	"net"
	"net/netip"

	"entente.example/internal/client"
	"entente.example/internal/identity"
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
	p.warnPerson(dir, config.Member, name)
	return client.Dial(dir, config.Member, reachable(config.NodeListen), name)
}

// warnPerson tells a person when their certificate ends soon. When it has ended, every call says so.
func (p *program) warnPerson(dir, member, name string) {
	if p.warned {
		return
	}
	p.warned = true
	cert, err := identity.LoadPerson(dir, member, name)
	if err != nil {
		return // dialling says it
	}
	if end, soon := identity.ExpiresSoon(cert, p.now()); soon && end.After(p.now()) {
		p.note("%s The certificate of %s ends at %s. For a new one: %s person add %s\n", styled(wait.Render("warning:")), name, end, p.self(), name)
	}
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
