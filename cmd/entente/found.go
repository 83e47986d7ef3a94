package main

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/statement"
)

func (p *program) foundCommand() *cobra.Command {
	var alliance string
	var port int
	cmd := &cobra.Command{
		Use:   "found NAME...",
		Short: "Found a whole alliance on this machine, for development",
		Long: `Found makes the homes of several members in one folder and has them found an
alliance, by the same steps that members far apart would take. It is for
development and for trying things out: in earnest, no machine holds the keys of
two members. docs/founding.md is the procedure for that.

--home DIR is required, and here it is the folder of the homes: DIR/alpha,
DIR/bravo, and the recovery keys in DIR/recovery. ENTENTE_HOME is ignored. A
folder that is not empty is refused.

The first member listens on ports 7443 and 7444, the next on 7453 and 7454, and
so on; --port begins elsewhere, and --port 0 takes any ports that are free.

With --json: an object a line with member, home, address, node_address.`,
		Example: `entente found alpha bravo charlie --home ./world
entente person add alice --role releaser,reader --home ./world/alpha
entente node --home ./world/alpha`,
		Args: args("NAME..."),
		RunE: func(cmd *cobra.Command, given []string) error {
			p.worlds = true
			if p.home == "" {
				return fault.New(fault.Misused, "give --home DIR, an empty folder for the homes of all members", "--home is missing")
			}
			return p.found(cmd, given, alliance, port)
		},
	}
	cmd.Flags().StringVar(&alliance, "alliance", "alliance", "the NAME of the alliance")
	cmd.Flags().IntVar(&port, "port", 7443, "the first member's PORT for other members; 0: any free ones")
	cmd.Flags().StringVar(&p.home, "home", "", "the folder DIR for the members' homes, which must be empty (required)")
	_ = cmd.MarkFlagDirname("home")
	return cmd
}

type foundJSON struct {
	Member  string `json:"member"`
	Home    string `json:"home"`
	Address string `json:"address"`
	Node    string `json:"node_address"`
}

func (p *program) found(cmd *cobra.Command, names []string, alliance string, port int) error {
	for i, name := range names {
		if err := statement.ValidMember(name); err != nil {
			return fault.New(fault.Misused, "choose lower-case words, such as alpha and bravo", "%w", err)
		}
		if slices.Contains(names[:i], name) {
			return fault.New(fault.Misused, "give every member a name of its own", "%s is named twice", name)
		}
	}
	if len(names) < 2 || len(names) > limit.Members {
		return fault.New(fault.Misused, "name the members, such as: entente found alpha bravo --home DIR", "an alliance has between 2 and %d members", limit.Members)
	}
	if err := statement.ValidName(alliance); err != nil {
		return fault.New(fault.Misused, "choose one lower-case word", "--alliance: %w", err)
	}
	ports, err := choosePorts(len(names), port)
	if err != nil {
		return err
	}
	var made []foundJSON
	o := node.AllianceOptions{Dir: p.home, Alliance: alliance, Members: names, Now: p.now(),
		Addresses: func(i int, name string) (peer, people string) {
			f := foundJSON{name, filepath.Join(p.home, name), address(ports[2*i]), address(ports[2*i+1])}
			made = append(made, f)
			return f.Address, f.Node
		}}
	if err := node.FoundAlliance(cmd.Context(), o); err != nil {
		return err
	}
	var rows [][]any
	for _, f := range made {
		if p.json {
			if err := p.emit(f); err != nil {
				return err
			}
		}
		rows = append(rows, []any{f.Member, f.Home, f.Address, f.Node})
	}
	if !p.json {
		p.table([]string{"MEMBER", "HOME", "FOR MEMBERS", "FOR ITS PEOPLE"}, rows)
	}
	first := made[0].Home
	p.next("entente --home "+first+" person add alice --role releaser,reader", "entente --home "+first+" node, and each of the others, in terminals of their own",
		"entente agreement draft, sign and adopt; then entente send")
	return nil
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// choosePorts gives two ports for each member: as documented, or free ones.
func choosePorts(members, first int) ([]int, error) {
	var ports []int
	if first != 0 {
		if last := first + 10*(members-1) + 1; first < 1 || last > 65535 {
			return nil, fault.New(fault.Misused, "choose a lower one", "%d members do not fit behind port %d", members, first)
		}
		for i := range members {
			ports = append(ports, first+10*i, first+10*i+1)
		}
		return ports, nil
	}
	// All are held until the last is found, so that none is found twice.
	for range 2 * members {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
