package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/health/grpc_health_v1"

	"entente.example/internal/fault"
	"entente.example/internal/identity"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
)

func (p *program) nodeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "node",
		Short: "Run this member's node, until it is interrupted",
		Long: `Node runs the member's node: it receives from other members, delivers what was
sent, and answers the member's own people. It needs a home that has adopted a
charter. When both ports accept calls it prints one line on stdout; what happens
then it logs on stderr.

It ends in order on Ctrl-C or SIGTERM. It may also be killed at any moment: what
was acknowledged is kept, and goes on at the next start.

What comes next: "entente send" and "entente inbox" in another terminal.

With --json the line is an object with member, peer_address, node_address, and
the log is JSON too.`,
		Example: `entente node
entente node --home ./world/alpha`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.node(cmd.Context()) },
	}
}

func (p *program) node(ctx context.Context) error {
	h, err := p.change(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if p.json {
		log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	return h.Serve(ctx, node.Options{Log: log, Now: p.now, Ready: func() {
		if p.json {
			_ = p.emit(struct {
				Member string `json:"member"`
				Peers  string `json:"peer_address"`
				People string `json:"node_address"`
			}{h.Config.Member, h.Config.PeerListen, h.Config.NodeListen})
			return
		}
		p.printf("%s is ready: for other members at %s, for its people at %s\n", h.Config.Member, h.Config.PeerListen, h.Config.NodeListen)
	}})
}

func (p *program) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Ask this member's node whether it is well",
		Long: `Health calls the running node and ends with 0 if it serves, with 1 if it does
not. It shows the node's own certificate, so it needs no person; service
managers and containers call it. It says when that certificate ends, and warns
in the last 30 days. It warns too if the log is stopped because it contradicted
itself, if no quorum of the other members co-signs it any more, or if another
member's log contradicted itself.

With --json: member, address, status, certificate_ends, log ("signing", "stopped"
or "stale").`,
		Example: `entente health
entente health --home ./world/alpha --json`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.health(cmd.Context()) },
	}
}

func (p *program) health(ctx context.Context) error {
	dir, err := p.dir()
	if err != nil {
		return err
	}
	config, err := node.ReadConfig(dir)
	if err != nil {
		return err
	}
	keys, err := identity.Load(dir, config.Member)
	if err != nil {
		return err
	}
	address := reachable(config.NodeListen)
	conn, err := rpc.DialNode(address, rpc.Config{Self: config.Member, Cert: keys.Node, CA: keys.CA, Now: p.now})
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, limit.Handshake)
	defer cancel()
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return rpc.FromStatus(err)
	}
	if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fault.New(fault.Transient, "look at its log", "the node at %s is not serving", address)
	}
	log, err := p.witnessed(ctx, dir)
	if err != nil {
		return err
	}
	end, soon := identity.ExpiresSoon(keys.Node, p.now())
	if p.json {
		return p.emit(struct {
			Member  string    `json:"member"`
			Address string    `json:"address"`
			Status  string    `json:"status"`
			Ends    time.Time `json:"certificate_ends"`
			Log     string    `json:"log"`
		}{config.Member, address, "serving", end.UTC(), log})
	}
	p.printf("%s serves at %s; the node's certificate ends at %s\n", config.Member, address, end)
	if soon {
		p.note("%s The node's certificate ends soon; from then on no member talks to it.\n", styled(wait.Render("warning:")))
	}
	return nil
}
