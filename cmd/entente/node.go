package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
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
	var profile string
	cmd := &cobra.Command{
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
		RunE: func(cmd *cobra.Command, _ []string) error { return p.node(cmd.Context(), profile) },
	}
	cmd.Flags().StringVar(&profile, "cpu-profile", "", "write where the processor's time goes to FILE, for go tool pprof")
	_ = cmd.Flags().MarkHidden("cpu-profile") // bench uses it
	return cmd
}

func (p *program) node(ctx context.Context, profile string) (err error) {
	// Memory that nobody touches, so that the system never provides it. Garbage is collected when there is as much as what is in use, and a node
	// that holds a few MiB would do little else. Before anything else: what was in use before is cleared, and so provided.
	ballast := make([]byte, 32<<20)
	defer runtime.KeepAlive(ballast)
	if profile != "" {
		stop, e := profileTo(profile)
		if e != nil {
			return e
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	h, err := p.change(ctx)
	if err != nil {
		return err
	}
	defer h.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if p.json {
		log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	if debug.SetMemoryLimit(-1) > limit.Memory { // unless GOMEMLIMIT asks for less
		debug.SetMemoryLimit(limit.Memory)
	}
	var mute error
	ctx, end := context.WithCancel(ctx)
	defer end()
	err = h.Serve(ctx, node.Options{Log: log, Now: p.now, Ready: func() {
		if p.json {
			mute = p.emit(struct {
				Member string `json:"member"`
				Peers  string `json:"peer_address"`
				People string `json:"node_address"`
			}{h.Config.Member, h.Config.PeerListen, h.Config.NodeListen})
			if mute != nil {
				end() // the program that started this node would wait for the line for ever
			}
			return
		}
		p.printf("%s is ready: for other members at %s, for its people at %s\n", h.Config.Member, h.Config.PeerListen, h.Config.NodeListen)
	}})
	if mute != nil {
		return errors.Join(fmt.Errorf("say that the node is ready: %w", mute), err)
	}
	return err
}

// profileTo writes a CPU profile until stop is called.
func profileTo(path string) (stop func() error, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fault.New(fault.Misused, "name a file in a folder that is there", "write a profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("write a profile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func (p *program) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Ask this member's node whether it is well",
		Long: `Health calls the running node and ends with 0 if it serves, with 1 if it does
not. It shows the node's own certificate, so it needs no person; service
managers and containers call it. It says when that certificate ends, and warns
in the last 30 days. It warns too if the log is stopped because it contradicted
itself, if no quorum of the other members co-signs it any more, if another
member's log contradicted itself, or if something in the home is damaged.

With --json: member, address, status, certificate_ends, log ("signing", "stopped"
or "stale"), damaged (how many things are).`,
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
	damage, err := (&node.Home{Dir: dir}).Damage()
	if err != nil {
		return err
	}
	if len(damage.List) > 0 {
		p.note("%s Something in the home is damaged, and documents may be kept apart: entente audit damage\n", styled(bad.Render("alarm:")))
	}
	end, soon := identity.ExpiresSoon(keys.Node, p.now())
	if p.json {
		return p.emit(struct {
			Member  string    `json:"member"`
			Address string    `json:"address"`
			Status  string    `json:"status"`
			Ends    time.Time `json:"certificate_ends"`
			Log     string    `json:"log"`
			Damaged int       `json:"damaged"`
		}{config.Member, address, "serving", end.UTC(), log, len(damage.List)})
	}
	p.printf("%s serves at %s; the node's certificate ends at %s\n", config.Member, address, end)
	if soon {
		p.note("%s The node's certificate ends soon; from then on no member talks to it.\n", styled(wait.Render("warning:")))
	}
	return nil
}
