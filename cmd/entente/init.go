package main

import (
	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/node"
)

func (p *program) initCommand() *cobra.Command {
	o := node.InitOptions{}
	cmd := &cobra.Command{
		Use:   "init NAME",
		Short: "Make a new member: its keys, certificates, configuration and card",
		Long: `Init makes the home of a new member called NAME, one lower-case word such as
alpha. It needs the address at which other members will reach the node.

The home holds entente.toml (every field commented there), the member's keys,
and an empty log. The recovery key is written apart, to a folder beside the
home or to --recovery DIR. It is the one key that can replace the others after
a break-in: take it off this machine at once, and keep it safe.

What comes next: print the card ("entente card"), and found an alliance with
"entente charter draft".

With --json: member, home, address, fingerprint, recovery_file.`,
		Example: `entente init alpha --address alpha.example:7443 --jurisdiction NL
# A second member on the same machine, for trying things out
entente init bravo --home ~/bravo --address 127.0.0.1:7453 \
--node 127.0.0.1:7454`,
		Args: args("NAME"),
		RunE: func(cmd *cobra.Command, given []string) error {
			o.Member = given[0]
			return p.init(cmd, o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Address, "address", "", "HOST:PORT at which other members reach this node (required; the customary port is 7443)")
	flags.StringVar(&o.NodeAddress, "node", node.DefaultNodeAddress, "HOST:PORT at which the member's own people reach it")
	flags.StringVar(&o.Jurisdiction, "jurisdiction", "", "the CC of the country under whose law the member stands, such as NL")
	flags.StringVar(&o.RecoveryDir, "recovery", "", "the DIR for the recovery key (default: the home's name with -recovery)")
	required(cmd, "address")
	_ = cmd.MarkFlagDirname("recovery")
	return cmd
}

func (p *program) init(cmd *cobra.Command, o node.InitOptions) error {
	dir, err := p.dir()
	if err != nil {
		return err
	}
	if o.Address == "" {
		return fault.New(fault.Misused, "give --address HOST:PORT, the address at which other members reach this node", "the address is empty")
	}
	o.Now = p.now()
	made, err := node.Init(cmd.Context(), dir, o)
	if err != nil {
		return err
	}
	if p.json {
		return p.emit(struct {
			Member       string `json:"member"`
			Home         string `json:"home"`
			Address      string `json:"address"`
			Fingerprint  string `json:"fingerprint"`
			RecoveryFile string `json:"recovery_file"`
		}{o.Member, dir, made.Card.Terms.Address, made.Fingerprint, made.RecoveryFile})
	}
	p.fields(field{"member", o.Member}, field{"home", dir}, field{"address", made.Card.Terms.Address},
		field{"fingerprint", made.Fingerprint}, field{"recovery key", made.RecoveryFile})
	p.note("\n%s Take the recovery key off this machine now:\n%s\nIt replaces all other keys if they are ever stolen. Whoever has it is %s.\n\n",
		styled(bad.Render("Important.")), "  "+made.RecoveryFile, o.Member)
	p.next(p.self()+" card -o "+o.Member+".card, and mail that file to whoever drafts the charter",
		"be ready to read the fingerprint out to them on the telephone")
	return nil
}
