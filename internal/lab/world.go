// Package lab is worlds of nodes: several members on one machine, for lessons, demonstrations and tests.
//
// A World is real: homes on disk, SQLite, TCP on loopback, TLS. Only the machine is shared. Lessons are scripts in this
// folder, *.txtar, which `entente lab run NAME` plays for a person and `go test` runs.
package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/node"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	ententev1 "entente.example/proto/entente/v1"
)

// World is an alliance on one machine. It may be used concurrently.
type World struct {
	Dir      string // the folder of the homes: Dir/alpha, Dir/bravo, …
	Alliance string
	Names    []string // of the members, as they were given

	log     *slog.Logger
	members map[string]*running
	lines   *lines // between the members
}

// running is a member's node, if it runs.
type running struct {
	dir          string
	peer, people string       // addresses
	strangers    net.Listener // for the next start; nil: none, or as configured
	offset       atomic.Int64 // of the node's clock, in nanoseconds

	mu        sync.Mutex     // guards what follows
	listeners []net.Listener // held for the next start; none while the node runs
	doors     []*door        // of the running node
	stop      context.CancelFunc
	ended     chan error // gets the end of Serve, once
}

// Options says what world to make.
type Options struct {
	Dir      string   // must be empty or not exist
	Alliance string   // empty: "harbour"
	Members  []string // at least two
	Log      *slog.Logger
	// Witnesses are outside witnesses, and Auditors persons who may read all logs, as spiffe://MEMBER/person/NAME. Both stand in the charter.
	Witnesses []statement.OutsideWitness
	Auditors  []string
	// Advertise gives the address that stands in a member's card, where that is not the one on which its node listens:
	// that of a relay, say. Nil: the node's own.
	Advertise func(member, listens string) string
}

// Found makes the homes and founds the alliance. No node runs yet. Every member has one person for a start: alice works
// for the first member, bob for the second, and so on (Person tells), as releaser and reader.
func Found(ctx context.Context, o Options) (w *World, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Alliance == "" {
		o.Alliance = "harbour"
	}
	w = &World{Dir: o.Dir, Alliance: o.Alliance, Names: o.Members, log: o.Log, members: map[string]*running{}, lines: newLines()}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	for _, name := range o.Members {
		r := &running{dir: filepath.Join(o.Dir, name)}
		w.members[name] = r
		// The ports are held from now on, so that nobody takes them between founding and starting.
		for _, address := range []*string{&r.peer, &r.people} {
			l, err := rpc.Listen(ctx, "127.0.0.1:0")
			if err != nil {
				return w, fmt.Errorf("find a port for %s: %w", name, err)
			}
			*address, r.listeners = l.Addr().String(), append(r.listeners, l)
		}
	}
	var persons []node.Persona
	for _, name := range o.Members {
		persons = append(persons, node.Persona{Member: name, Name: w.Person(name), Roles: []string{"releaser", "reader"}})
	}
	err = node.FoundAlliance(ctx, node.AllianceOptions{Dir: o.Dir, Alliance: o.Alliance, Members: o.Members, Persons: persons, Now: time.Now().Add(-Backdated),
		Witnesses: o.Witnesses, Auditors: o.Auditors,
		Addresses: func(_ int, name string) (string, string) {
			peer, people := w.Addresses(name)
			if o.Advertise != nil {
				peer = o.Advertise(name, peer)
			}
			return peer, people
		}})
	return w, err
}

var people = []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"}

// Person names the member's first person.
func (w *World) Person(member string) string {
	if i := slices.Index(w.Names, member); i < len(people) {
		return people[i]
	}
	return "person-of-" + member
}

// Home gives a member's folder.
func (w *World) Home(member string) string { return filepath.Join(w.Dir, member) }

// Addresses gives the two addresses on which a member's node listens: for other members, and for its own people.
func (w *World) Addresses(member string) (peer, people string) {
	return w.members[member].peer, w.members[member].people
}

// Running tells whether a member's node runs in this world.
func (w *World) Running(member string) bool {
	r := w.members[member]
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stop != nil
}

// Open opens a member's home to change it, as a command does. Whoever opens it must close it.
func (w *World) Open(ctx context.Context, member string) (*node.Home, error) {
	return node.OpenHome(ctx, w.Home(member))
}

// AddPerson adds a person to a member, cleared for TLP:RED and trained for a year.
func (w *World) AddPerson(ctx context.Context, member, name string, roles ...string) error {
	h, err := w.Open(ctx, member)
	if err != nil {
		return err
	}
	p := node.Persona{Member: member, Name: name, Roles: roles}
	return errors.Join(h.AddPerson(ctx, time.Now().Add(-Backdated), p.Person(time.Now())), h.Close())
}

// Agree has the parties draft, sign and adopt an agreement, by the same steps as members that are far apart. Version,
// alliance and times are filled in where they are missing.
func (w *World) Agree(ctx context.Context, a statement.Agreement) (_ *statement.Signed[statement.Agreement], err error) {
	if a.Version == 0 {
		a.Version = 1
	}
	if a.NotBefore.IsZero() {
		a.NotBefore = time.Now().Add(-time.Minute)
	}
	if a.NotAfter.IsZero() {
		a.NotAfter = a.NotBefore.AddDate(1, 0, 0)
	}
	slices.Sort(a.Parties)
	slices.Sort(a.Purposes)
	homes := make([]*node.Home, 0, len(a.Parties))
	defer func() {
		for _, h := range homes {
			err = errors.Join(err, h.Close())
		}
	}()
	for _, p := range a.Parties {
		h, err := w.Open(ctx, p)
		if err != nil {
			return nil, err
		}
		homes = append(homes, h)
	}
	return node.Conclude(ctx, time.Now(), a, homes...)
}

// Start starts a member's node and returns when it serves.
func (w *World) Start(ctx context.Context, member string) error {
	r := w.members[member]
	if r == nil {
		return noMember(member)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil {
		return fault.New(fault.Conflict, "", "the node of %s runs already", member)
	}
	addresses := []string{r.peer, r.people}
	for _, address := range addresses[len(r.listeners):] {
		l, err := listenAgain(ctx, address)
		if err != nil {
			return fmt.Errorf("start %s again: %w", member, err)
		}
		r.listeners = append(r.listeners, l)
	}
	h, err := node.OpenHome(ctx, r.dir)
	if err != nil {
		return fmt.Errorf("start %s: %w", member, err)
	}
	// The node lives until Stop, whatever the context of the starting was for.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ready, ended := make(chan struct{}), make(chan error, 1)
	doors := []*door{{Listener: r.listeners[0]}, {Listener: r.listeners[1]}}
	options := node.Options{PeerListener: doors[0], NodeListener: doors[1], Log: w.log, Now: r.now, Ready: func() { close(ready) },
		WitnessListener: r.strangers,
		Dial: func(ctx context.Context, to, address string) (net.Conn, error) {
			return w.lines.dial(ctx, way{member, to}, address)
		}}
	w.lines.plug(member)
	go func() {
		err := h.Serve(serving, options)
		ended <- errors.Join(err, h.Close())
	}()
	select {
	case <-ready:
		r.listeners, r.strangers, r.doors, r.stop, r.ended = nil, nil, doors, stop, ended // Serve closes the listeners
		return nil
	case err := <-ended:
		stop()
		return errors.Join(fmt.Errorf("start %s: %w", member, err), r.release())
	}
}

// ListenForStrangers has a member's node listen for whoever is no member, over HTTP on loopback, while it runs the next time. It gives the
// address.
func (w *World) ListenForStrangers(ctx context.Context, member string) (address string, err error) {
	r := w.members[member]
	if r == nil {
		return "", noMember(member)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.strangers, err = rpc.Listen(ctx, "127.0.0.1:0"); err != nil {
		return "", err
	}
	return r.strangers.Addr().String(), nil
}

// listenAgain listens at the address that a node has had before. While the node was stopped, somebody else may have been
// given its port for a moment, so it tries for a while.
func listenAgain(ctx context.Context, address string) (net.Listener, error) {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		l, err := rpc.Listen(ctx, address)
		if err == nil || fault.KindOf(err) != fault.Conflict || time.Since(began) > 10*time.Second || ctx.Err() != nil {
			return l, err
		}
	}
}

// release gives the ports back that no node has taken over. The caller holds mu, or is the only one left.
func (r *running) release() error {
	var err error
	if r.strangers != nil {
		r.listeners, r.strangers = append(r.listeners, r.strangers), nil
	}
	for _, l := range r.listeners {
		if e := l.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	r.listeners = nil
	return err
}

// StartAll starts every node.
func (w *World) StartAll(ctx context.Context) error {
	for _, m := range w.Names {
		if err := w.Start(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

// Stop stops a member's node and waits for its end. A node that does not run is no error.
func (w *World) Stop(member string) error {
	r := w.members[member]
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop == nil {
		return nil
	}
	r.stop()
	err := <-r.ended
	r.doors, r.stop, r.ended = nil, nil, nil
	return err
}

// Close stops every node and gives the ports back. The homes stay.
func (w *World) Close() error {
	w.lines.mend() // a call that hangs would keep its node from stopping
	var err error
	for name, r := range w.members {
		err = errors.Join(err, w.Stop(name), r.release())
	}
	w.lines.close()
	return err
}

// Client connects to a member's node as one of its people. Whoever connects must close it.
func (w *World) Client(member, person string) (*client.Client, error) {
	r := w.members[member]
	if r == nil {
		return nil, noMember(member)
	}
	return client.Dial(r.dir, member, r.people, person)
}

// Exchanges lists all exchanges of a member in one direction, newest first. Its node must run.
func (w *World) Exchanges(ctx context.Context, member string, d ententev1.Direction) ([]*ententev1.Exchange, error) {
	c, err := w.Client(member, w.Person(member))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var all []*ententev1.Exchange
	for cursor := ""; ; {
		page, err := c.Node().List(ctx, &ententev1.ListRequest{Direction: d, Cursor: cursor, Limit: limit.Page})
		if err != nil {
			return nil, err
		}
		all = append(all, page.GetExchanges()...)
		if cursor = page.GetCursor(); cursor == "" {
			return all, nil
		}
	}
}
