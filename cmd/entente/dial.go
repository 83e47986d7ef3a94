package main

import (
	"context"
	"net"
	"net/netip"

	"google.golang.org/grpc"

	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
	ententev1 "entente.example/proto/entente/v1"
)

// dial prepares a connection of the person who asks to the member's own running node. The caller closes it.
func (p *program) dial() (*grpc.ClientConn, error) {
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
	c := rpc.Config{Self: config.Member, Now: p.now}
	if c.Cert, err = identity.LoadPerson(dir, config.Member, name); err != nil {
		return nil, err
	}
	if c.CA, err = identity.LoadCA(dir, config.Member); err != nil {
		return nil, err
	}
	return rpc.DialNode(reachable(config.NodeListen), c)
}

// ask calls the running node once.
func (p *program) ask(ctx context.Context, call func(context.Context, ententev1.NodeServiceClient) error) error {
	conn, err := p.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, limit.Call)
	defer cancel()
	return rpc.FromStatus(call(ctx, ententev1.NewNodeServiceClient(conn)))
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
