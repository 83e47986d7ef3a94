package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/node"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// The members of the alliance that is measured, and who works for them. They witness each other's logs, as members do.
const (
	from, sender   = "alpha", "alice"
	to, recipient  = "bravo", "bob"
	agreement      = "bench"
	settledWithin  = 20_000 // milliseconds; an answer that comes earlier is asked for again
	betweenAsking  = time.Millisecond
	agreementYears = 1
)

// nodes are two members' nodes, each a process of its own with an ordinary home, and a person's connection to the first. It may be
// used concurrently.
type nodes struct {
	processes []*process
	person    *client.Client
}

// startNodes starts the nodes of the alliance in dir. Their profiles, if there are to be any, are named after what is measured.
func startNodes(ctx context.Context, o Options, what, dir string, addresses []string) (_ *nodes, err error) {
	n := &nodes{}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	for _, m := range []string{from, to} {
		args := []string{"node", "--json", "--home", filepath.Join(dir, m)}
		if o.Profile != "" {
			args = append(args, "--cpu-profile", filepath.Join(o.Profile, what+"-"+m+".pprof"))
		}
		p, err := start(ctx, o.Program(ctx, args...), &struct{}{})
		if err != nil {
			return nil, err
		}
		n.processes = append(n.processes, p)
	}
	n.person, err = client.Dial(filepath.Join(dir, from), from, addresses[1], sender)
	return n, err
}

// found founds the alliance in dir: for each member the address for others, and that for its people.
func found(ctx context.Context, dir string, addresses []string, now time.Time) error {
	return node.FoundAlliance(ctx, node.AllianceOptions{Dir: dir, Alliance: "bench", Members: []string{from, to}, Now: now,
		Addresses: func(i int, _ string) (peer, people string) { return addresses[2*i], addresses[2*i+1] },
		Persons:   []node.Persona{{Member: from, Name: sender, Roles: []string{"releaser", "reader"}}, {Member: to, Name: recipient, Roles: []string{"releaser", "reader"}}},
		Agreement: &statement.Agreement{Name: agreement, Version: 1, Purposes: []string{"exercise"}, Ceiling: "TLP:AMBER", RetainDays: 90,
			NotBefore: now.UTC().Truncate(24 * time.Hour), NotAfter: now.UTC().Truncate(24*time.Hour).AddDate(agreementYears, 0, 0)}})
}

func (n *nodes) parallel() bool { return true }

// exchange sends one document, and waits until the sender's node holds the recipient's receipt.
func (n *nodes) exchange(ctx context.Context, document string) error {
	sent, err := n.hand(ctx, document, settledWithin)
	if err != nil {
		return err
	}
	if slices.Equal(sent.GetStates(), []string{"delivered"}) {
		return nil
	}
	return n.settled(ctx, sent.GetExchanges()[0])
}

// send sends one document, and gives the name of the exchange.
func (n *nodes) send(ctx context.Context, document string) (string, error) {
	sent, err := n.hand(ctx, document, 0)
	if err != nil {
		return "", err
	}
	return sent.GetExchanges()[0], nil
}

// hand hands in one document.
func (n *nodes) hand(ctx context.Context, document string, settledWithin int32) (*ententev1.SendResponse, error) {
	doc, err := os.Open(document)
	if err != nil {
		return nil, err
	}
	defer doc.Close()
	return n.person.Send(ctx, &ententev1.Submission{Id: client.NewID(), To: []string{to}, Agreement: agreement, Purpose: "exercise", Label: "TLP:CLEAR",
		FileName: "document", MediaType: "application/octet-stream", SettledWithin: settledWithin}, doc)
}

// settled waits until an exchange is delivered.
func (n *nodes) settled(ctx context.Context, ref string) error {
	for {
		out, err := n.person.Node().Show(ctx, &ententev1.ShowRequest{Exchange: ref, SettledWithin: settledWithin})
		if err != nil && fault.KindOf(err) != fault.Transient {
			return err
		}
		if err == nil {
			if state := out.GetExchanges()[0].GetState(); state == "delivered" {
				return nil
			} else if client.Settled(state) {
				return fmt.Errorf("%s ended as %q", ref, state)
			}
		}
		if err := pause(ctx, betweenAsking); err != nil {
			return err
		}
	}
}

func (n *nodes) close() error {
	var err error
	if n.person != nil {
		err = n.person.Close()
	}
	for _, p := range n.processes {
		err = errors.Join(err, p.stop())
	}
	return err
}

// freeAddresses finds addresses on loopback where nobody listens. All are held until the last is found, so that none is found twice.
func freeAddresses(n int) (list []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list, nil
}
