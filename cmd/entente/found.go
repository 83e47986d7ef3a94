package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/statement"
)

// founding is what `found` was told.
type founding struct {
	alliance, agreement    string
	host, listen, recovery string
	port                   int
	persons                []string
	once                   bool
}

func (p *program) foundCommand() *cobra.Command {
	var f founding
	cmd := &cobra.Command{
		Use:   "found NAME...",
		Short: "Found a whole alliance on this machine, for development",
		Long: `Found makes the homes of several members in one folder and has them found an
alliance, by the same steps that members far apart would take. It is for
development and for trying things out: in earnest, no machine holds the keys of
two members. docs/founding.md is the procedure for that.

--home DIR is required, and here it is the folder of the homes: DIR/alpha,
DIR/bravo, and the recovery keys in DIR/recovery. If DIR holds a *, it stands
for the member's name, as in --home '/volumes/*/home'. ENTENTE_HOME is ignored.
A folder that is not empty is refused, unless it holds only a README.md and a
.gitignore; with --once, an alliance of these members that stands already is
left as it is.

The first member listens on ports 7443 and 7444, the next on 7453 and 7454, and
so on; --port begins elsewhere, and --port 0 takes any ports that are free. On
one machine that is all. For members in containers, --host '*' has each reached
under its own name, and --listen 0.0.0.0 lets its people in from outside.

--person and --agreement save the first steps after that: people who may send
and open up to TLP:RED for a year, and one agreement between all members for the
purposes exercise and incident-response, up to TLP:AMBER, to be kept 90 days; it
holds for a year.

With --json: an object a line with member, home, address, node_address.`,
		Example: `entente found alpha bravo charlie --home ./world
entente person add alice --role releaser,reader --label TLP:AMBER \
--trained-until 2027-11-23 --home ./world/alpha
entente node --home ./world/alpha
# With somebody at each member, and something agreed
entente found alpha bravo --home ./world --agreement harbour-watch \
--person alpha/alice --person bravo/bob`,
		Args: args("NAME..."),
		RunE: func(cmd *cobra.Command, given []string) error {
			p.worlds = true
			if p.home == "" {
				return fault.New(fault.Misused, "give --home DIR, an empty folder for the homes of all members", "--home is missing")
			}
			return p.found(cmd.Context(), given, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.alliance, "alliance", "alliance", "the NAME of the alliance")
	flags.IntVar(&f.port, "port", 7443, "the first member's PORT for other members; 0: any free ones")
	flags.StringVar(&f.host, "host", "127.0.0.1", "the HOST in the address of each member; * stands for its name")
	flags.StringVar(&f.listen, "listen", "127.0.0.1", "the IP address at which nodes listen for their people")
	flags.StringVar(&f.recovery, "recovery", "", "the DIR for the recovery keys (default: DIR/recovery)")
	flags.StringArrayVar(&f.persons, "person", nil, "a MEMBER/NAME who may send and open; may be repeated")
	flags.StringVar(&f.agreement, "agreement", "", "the NAME of an agreement between all members (default: none)")
	flags.BoolVar(&f.once, "once", false, "do nothing if the alliance stands already")
	flags.StringVar(&p.home, "home", "", "the folder DIR for the members' homes; * in it stands for a name (required)")
	_ = cmd.MarkFlagDirname("home")
	_ = cmd.MarkFlagDirname("recovery")
	return cmd
}

type foundJSON struct {
	Member  string `json:"member"`
	Home    string `json:"home"`
	Address string `json:"address"`
	Node    string `json:"node_address"`
}

func (p *program) found(ctx context.Context, names []string, f founding) error {
	o, made, err := p.alliance(names, f)
	if err != nil {
		return err
	}
	stands := false
	if f.once {
		if stands, err = node.AllianceStands(ctx, o); err != nil {
			return err
		}
	}
	if !stands {
		if err := node.FoundAlliance(ctx, o); err != nil {
			return err
		}
	}
	var rows [][]any
	for _, m := range made {
		if p.json {
			if err := p.emit(m); err != nil {
				return err
			}
		}
		rows = append(rows, []any{m.Member, m.Home, m.Address, m.Node})
	}
	if !p.json {
		p.table([]string{"MEMBER", "HOME", "FOR MEMBERS", "FOR ITS PEOPLE"}, rows)
	}
	if stands {
		p.note("It stands already, and was left as it is.\n")
		return nil
	}
	first := made[0].Home
	var steps []string
	if len(f.persons) == 0 {
		steps = append(steps, "entente --home "+first+" person add alice --role releaser,reader --label TLP:AMBER --trained-until DAY")
	}
	steps = append(steps, "entente --home "+first+" node, and each of the others, in terminals of their own")
	if f.agreement == "" {
		steps = append(steps, "entente agreement draft and propose, and at each other party sign; then entente send")
	}
	p.next(steps...)
	return nil
}

// alliance makes of what `found` was told what is to be founded, and how it will be shown.
func (p *program) alliance(names []string, f founding) (node.AllianceOptions, []foundJSON, error) {
	o := node.AllianceOptions{Dir: p.home, RecoveryDir: f.recovery, Alliance: f.alliance, Members: names, Now: p.now()}
	for i, name := range names {
		if err := statement.ValidMember(name); err != nil {
			return o, nil, fault.New(fault.Misused, "choose lower-case words, such as alpha and bravo", "%w", err)
		}
		if slices.Contains(names[:i], name) {
			return o, nil, fault.New(fault.Misused, "give every member a name of its own", "%s is named twice", name)
		}
	}
	if len(names) < 2 || len(names) > limit.Members {
		return o, nil, fault.New(fault.Misused, "name the members, such as: entente found alpha bravo --home DIR", "an alliance has between 2 and %d members", limit.Members)
	}
	if err := statement.ValidName(f.alliance); err != nil {
		return o, nil, fault.New(fault.Misused, "choose one lower-case word", "--alliance: %w", err)
	}
	if f.once && f.port == 0 {
		return o, nil, fault.New(fault.Misused, "name the first member's port with --port", "--once cannot compare ports that are chosen anew")
	}
	if _, err := netip.ParseAddr(f.listen); err != nil {
		return o, nil, fault.New(fault.Misused, "give an IP address, such as 0.0.0.0 for all of this machine", "--listen %.80q is not an IP address", f.listen)
	}
	home := func(member string) string { return filepath.Join(p.home, member) }
	if strings.Contains(p.home, "*") {
		if f.recovery == "" {
			return o, nil, fault.New(fault.Misused, "name a folder that no member can read", "--recovery is missing, and with a * in --home there is no place beside the homes")
		}
		home = func(member string) string { return strings.ReplaceAll(p.home, "*", member) }
		o.Home = home
	}
	if err := f.fill(&o); err != nil {
		return o, nil, err
	}
	ports, err := choosePorts(len(names), f.port)
	if err != nil {
		return o, nil, err
	}
	var made []foundJSON
	for i, name := range names {
		m := foundJSON{name, home(name), address(strings.ReplaceAll(f.host, "*", name), ports[2*i]), address(f.listen, ports[2*i+1])}
		if err := statement.ValidAddress(m.Address); err != nil {
			return o, nil, fault.New(fault.Misused, "give a lower-case DNS name or an IP address, such as *.example", "--host: %w", err)
		}
		made = append(made, m)
	}
	o.Addresses = func(i int, _ string) (peer, people string) { return made[i].Address, made[i].Node }
	return o, made, nil
}

// fill adds persons and the agreement.
func (f founding) fill(o *node.AllianceOptions) error {
	for _, s := range f.persons {
		member, name, ok := strings.Cut(s, "/")
		if !ok {
			return fault.New(fault.Misused, "write it as MEMBER/NAME, such as alpha/alice", "--person %.80q names no member", s)
		}
		o.Persons = append(o.Persons, node.Persona{Member: member, Name: name, Roles: []string{"reader", "releaser"}})
	}
	if f.agreement == "" {
		return nil
	}
	if err := statement.ValidName(f.agreement); err != nil {
		return fault.New(fault.Misused, "choose one lower-case word", "--agreement: %w", err)
	}
	o.Agreement = &statement.Agreement{Name: f.agreement, Version: 1, Purposes: []string{"exercise", "incident-response"}, Ceiling: "TLP:AMBER",
		RetainDays: 90, NotBefore: o.Now.UTC().Truncate(day), NotAfter: o.Now.UTC().Truncate(day).AddDate(1, 0, 0)}
	return nil
}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

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
