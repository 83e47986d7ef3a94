package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"entente.example/internal/identity"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
)

func (p *program) metricsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the running node's figures, as Prometheus reads them",
		Long: `Metrics asks the running node for its figures and prints them in Prometheus'
text format: what waits for whom and how long, documents and bytes by member,
refusals by rule, how long the disk takes, how far the log, its checkpoint and
its co-signatures have come, what each member's documents take.

Prometheus reads the same at https://NODE_ADDRESS/metrics, over HTTP/1.1, with
the certificate of a person of this member; docs/operating.md says how. A file
for node_exporter's textfile collector is made with: entente metrics > FILE

The figures name members, never persons, documents or files. With --json the
text is one string, metrics, beside member and address.`,
		Example: `entente metrics
entente metrics | grep outbox`,
		Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.metrics(cmd.Context()) },
	}
}

func (p *program) metrics(ctx context.Context) error {
	dir, err := p.dir()
	if err != nil {
		return err
	}
	config, err := node.ReadConfig(dir)
	if err != nil {
		return err
	}
	name, err := p.person(dir)
	if err != nil {
		return err
	}
	p.warnPerson(dir, config.Member, name)
	cert, err := identity.LoadPerson(dir, config.Member, name)
	if err != nil {
		return err
	}
	ca, err := identity.LoadCA(dir, config.Member)
	if err != nil {
		return err
	}
	address := reachable(config.NodeListen)
	text, err := rpc.Scrape(ctx, address, rpc.Config{Self: config.Member, Cert: cert, CA: ca, Now: p.now})
	if err != nil {
		return err
	}
	if p.json {
		return p.emit(struct {
			Member  string `json:"member"`
			Address string `json:"address"`
			Metrics string `json:"metrics"`
		}{config.Member, address, string(text)})
	}
	for l := range strings.Lines(string(text)) {
		p.printf("%s\n", strings.TrimSuffix(l, "\n"))
	}
	return nil
}
