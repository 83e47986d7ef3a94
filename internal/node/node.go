// Package node is a member: its home, which commands work on directly, and the node, which is a home that serves.
//
// One file is one verb. A document's way through them, with data flowing down and results flowing up:
//
//	send.go      a person hands in a document: decide, seal, sign, one transaction
//	wait.go      a release that takes two people waits, sealed, for the second
//	approve.go   that one compares, decides again, signs, one transaction
//	outbox.go    what is due goes out, again and again until there is a receipt or no time left
//	deliver.go   one attempt: offer, offset, payload, receipt
//	receive.go   the other side of it: every check, decide, one transaction, receipt
//	open.go      a person opens what came: decide, verify it whole, one transaction, release
//	rehearse.go  what all of this would come to, without a document
//	list.go      what people ask about exchanges
//
// Around them: found.go makes alliances; propose.go, handin.go and notice.go bring agreements into being and to an end; people.go says who
// may do what.
package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"entente.example/internal/audit"
	"entente.example/internal/crash"
	"entente.example/internal/durable"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/memo"
	"entente.example/internal/metrics"
	"entente.example/internal/policy"
	"entente.example/internal/rpc"
	"entente.example/internal/seal"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Options are what a node gets from whoever starts it.
type Options struct {
	PeerListener net.Listener // from rpc.Listen; nil: listen as configured
	NodeListener net.Listener // from rpc.Listen; nil: listen as configured
	// WitnessListener is for whoever is no member, from rpc.Listen; nil: listen as configured, which may be nowhere.
	WitnessListener net.Listener
	Log             *slog.Logger     // required
	Now             func() time.Time // nil: the system's clock
	Ready           func()           // called once both listeners accept, or nil
	look            time.Duration    // 0: limit.WitnessLook; tests of days look seldom
	// Dial connects to another member at the address on its card, as in rpc.Config; nil: by TCP.
	Dial func(ctx context.Context, member, address string) (net.Conn, error)
}

// node is a home that serves. All fields are set before it serves and stay.
type node struct {
	ententev1.UnimplementedPeerServiceServer
	ententev1.UnimplementedNodeServiceServer

	*Home
	log     *slog.Logger
	metrics *metrics.Set
	damage  damages
	now     func() time.Time
	reach   func(ctx context.Context, member, address string) (net.Conn, error) // of other members; nil: by TCP
	sealing []*seal.Key
	wake    chan struct{} // there is something new in the outbox; holds at most one
	fresh   chan fresh    // what that is, where whoever put it there says so
	held    chan struct{} // a release began to wait for a second person; holds at most one
	busy    busy          // exchanges and submissions under way
	tries   tries
	absent  absent
	quota   quota
	space   space
	leaves  leaves
	seldom  *rpc.Seldom // lines about what peers do wrong
	// rehearsals are counted apart, so that asking much keeps no bad request out of the log.
	rehearsals leaves

	witness    *audit.Witness // of others' logs
	rounds     *rounds        // of our own
	gossip     *gossip
	lines      lines
	lanes      lanes
	agreements memo.Memo[known, *statement.Signed[statement.Agreement]] // that were verified
	manifests  memo.Memo[known, *statement.Signed[statement.Manifest]]  // of ours, that were verified or signed just now
	// What was found of agreements, as long as alliance gives the same History.
	byHash      memo.Memo[of[statement.Hash], *statement.Signed[statement.Agreement]]
	byName      memo.Memo[of[string], []version]
	leaving     memo.Memo[of[statement.Hash], []store.Notice] // withdrawals, by agreement
	settled     bells                                         // rung when a delivery has come to its end, by manifest
	outside     *outside
	heartbeat   time.Duration // limit.Heartbeat, but in tests
	gossipPause time.Duration // limit.GossipPause, but in tests
	look        time.Duration // limit.WitnessLook, but in tests
	// stub stands for the nodes of other members in tests that have none; nil: they are called.
	stub func(ctx context.Context, member string) ententev1.PeerServiceClient

	certificate atomic.Pointer[tls.Certificate] // of the node, as it was renewed last; see shown
	renewal     sync.Mutex                      // guards renewing it
	renewTried  time.Time                       // when that was last begun
	kept        atomic.Pointer[statement.Hash]  // the house rules whose text was kept last
	houses      sync.Map                        // by hash, the texts of those by which something was decided and which are not kept yet

	mu         sync.Mutex // guards what follows
	history    *member.History
	generation int64 // of the database when history was read
	seen       int64 // of what DB.Changes counts, when it was last looked at
	looked     time.Time
}

// Serve runs the node until ctx ends, then ends calls under way within a few seconds. A home serves once: a second node
// on it is refused.
func (h *Home) Serve(ctx context.Context, o Options) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	lock := flock.New(filepath.Join(h.Dir, "lock"))
	held, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("lock home: %w", err)
	}
	if !held {
		return fault.New(fault.Conflict, "stop it first, or use it: entente health --home "+h.Dir, "another node is using %s", h.Dir)
	}
	defer lock.Close()

	n := newNode(h, o)
	defer n.lines.close()
	defer n.lanes.close()
	defer n.outside.close()
	if err := policy.Check(); err != nil {
		return fmt.Errorf("check base policy: %w", err)
	}
	// A node without sound house rules still serves: people must be able to ask it what is wrong, and correct them.
	if house, err := n.house(); err == nil && house.PermitsNothing() {
		n.log.Warn("the house rules permit nothing; begin with: entente policy example permit-all", "folder", HouseDir)
	}
	if _, err := n.alliance(ctx); err != nil {
		return err
	}
	for _, s := range h.Keys.Sealing {
		k, err := seal.ParseKey(s.Reveal())
		if err != nil {
			return fmt.Errorf("read sealing key: %w", err)
		}
		n.sealing = append(n.sealing, k)
	}
	if err := n.damage.load(h); err != nil {
		n.log.Error("nothing is kept apart until the check has come by again", "error", err)
	}
	if err := n.recover(ctx); err != nil {
		return err
	}
	n.renew()
	n.warn()
	return n.serve(ctx, o)
}

// newNode makes a node of a home. It does nothing yet.
func newNode(h *Home, o Options) *node {
	n := &node{Home: h, log: o.Log.With("member", h.Config.Member), now: o.Now, reach: o.Dial, wake: make(chan struct{}, 1), fresh: make(chan fresh, limit.Fresh), held: make(chan struct{}, 1),
		heartbeat: limit.Heartbeat, gossipPause: limit.GossipPause, look: cmp.Or(o.look, limit.WitnessLook)}
	n.witness = audit.NewWitness(filepath.Join(h.Dir, headDir), audit.WitnessKeys{Ed25519: h.Keys.Witness, MLDSA: h.Keys.WitnessMLDSA})
	n.witness.Now = o.Now
	n.seldom = rpc.NewSeldom(n.log)
	n.observe()
	n.rounds, n.gossip, n.outside = newRounds(n), newGossip(n), newOutside()
	h.Log.Now = n.rounds.date
	n.certificate.Store(&h.Keys.Node)
	return n
}

func (n *node) serve(ctx context.Context, o Options) error {
	peers, err := listen(ctx, o.PeerListener, n.Config.PeerListen)
	if err != nil {
		return err
	}
	defer peers.Close()
	people, err := listen(ctx, o.NodeListener, n.Config.NodeListen)
	if err != nil {
		return err
	}
	defer people.Close()
	strangers, err := n.listenPublic(ctx, o.WitnessListener)
	if err != nil {
		return err
	}

	c := n.rpcConfig(ctx)
	peerServer, err := rpc.NewPeerServer(c)
	if err != nil {
		return fmt.Errorf("make peer server: %w", err)
	}
	nodeServer, err := rpc.NewNodeServer(c)
	if err != nil {
		return fmt.Errorf("make node server: %w", err)
	}
	ententev1.RegisterPeerServiceServer(peerServer, n)
	ententev1.RegisterNodeServiceServer(nodeServer, n)

	asked := ctx // Wait ends the group's own context in any case
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return peerServer.Serve(peers) })
	group.Go(func() error { return nodeServer.Serve(people) })
	if strangers != nil {
		defer strangers.Close()
		group.Go(func() error { return newPublic(n).serve(ctx, strangers) })
		n.log.Info("serving strangers over HTTP", "at", strangers.Addr().String(), "outside logs witnessed", len(n.Config.WitnessLogs))
	}
	group.Go(func() error { return n.outbox(ctx) })
	group.Go(func() error { return n.sweep(ctx) })
	group.Go(func() error { return n.lapses(ctx) })
	group.Go(func() error { return n.rounds.run(ctx) })
	group.Go(func() error { return n.gossip.run(ctx) })
	group.Go(func() error { return n.check(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		var wait sync.WaitGroup
		for _, s := range []*grpc.Server{peerServer, nodeServer} {
			wait.Go(func() { stop(s) })
		}
		wait.Wait()
		return nil
	})
	n.log.Info("serving", "peers", peers.Addr().String(), "people", people.Addr().String())
	if o.Ready != nil {
		o.Ready()
	}
	if err := group.Wait(); err != nil && !errors.Is(err, grpc.ErrServerStopped) && asked.Err() == nil {
		return fmt.Errorf("serve: %w", err)
	}
	// What was recorded while the parts ended is signed too, so that a home which was stopped in order proves all that it holds.
	if n.Log.Stopped() == nil {
		if _, err := n.Log.Publish(context.WithoutCancel(asked)); err != nil {
			n.log.Error("cannot sign what was recorded last", "error", err)
		}
	}
	return nil
}

// rpcConfig is how this node speaks, to whomever. Without a readable charter nobody is a member.
func (n *node) rpcConfig(ctx context.Context) rpc.Config {
	return rpc.Config{Self: n.Config.Member, Cert: *n.shown(), Renewed: n.shown, CA: n.Keys.CA, Log: n.log, Now: n.now, Dial: n.reach, Heard: n.heard, Calls: n.metrics.Calls, Metrics: n.metrics.Write, Listed: func(name string) error { _, err := person(n.Dir, name); return err }, History: func() *member.History {
		h, err := n.alliance(ctx)
		if err != nil {
			n.log.Error("cannot read the charter, so nobody is trusted", "error", err)
			return nil
		}
		return h
	}}
}

// stop lets calls under way finish for a moment, and then ends them; whatever they were doing is repeated later.
func stop(s *grpc.Server) {
	timer := time.AfterFunc(2*time.Second, s.Stop)
	defer timer.Stop()
	s.GracefulStop()
}

func listen(ctx context.Context, given net.Listener, address string) (net.Listener, error) {
	if given != nil {
		return given, nil
	}
	return rpc.Listen(ctx, address)
}

// commit records a fact in one transaction. The head and a checkpoint that cover its leaf follow behind the caller's back: who shows the leaf to
// somebody waits for the head first, see audit.Log.Cover. While they cannot be written nothing more is recorded.
func (n *node) commit(ctx context.Context, fn func(*store.Tx) error) error {
	if err := n.Log.Stopped(); err != nil {
		return err
	}
	if n.rounds.unpublished.Load() {
		if _, err := n.Log.Publish(ctx); err != nil {
			return fmt.Errorf("publish log: %w", err)
		}
		n.rounds.unpublished.Store(false)
	}
	var houses []statement.Hash
	err := n.DB.Update(ctx, func(tx *store.Tx) (err error) {
		if houses, err = n.keepHouses(tx); err != nil {
			return err
		}
		return fn(tx)
	})
	if err != nil {
		return err
	}
	n.housesKept(houses)
	n.rounds.nudge()
	return nil
}

// commitAs is commit of a fact that package crash knows by name.
func (n *node) commitAs(ctx context.Context, step string, fn func(*store.Tx) error) error {
	return crash.Step(step, func() error { return n.commit(ctx, fn) })
}

// alliance gives the newest charter and cards. What other programs beside the node have added it finds within limit.OthersLook. As long as there is
// nothing new of what Generation counts, it gives the same History.
func (n *node) alliance(ctx context.Context) (*member.History, error) {
	var charters, cards [][]byte
	var generation int64
	n.mu.Lock()
	defer n.mu.Unlock()
	changes, now := n.DB.Changes(), time.Now()
	if n.history != nil && changes == n.seen && now.Sub(n.looked) < limit.OthersLook {
		return n.history, nil
	}
	err := n.DB.View(ctx, func(v *store.View) (err error) {
		if generation, err = v.Generation(); err != nil || n.history != nil && generation == n.generation {
			return err
		}
		if charters, err = v.Charters(); err != nil {
			return err
		}
		cards, err = v.Cards()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read charter: %w", err)
	}
	if n.history != nil && generation == n.generation {
		n.seen, n.looked = changes, now
		return n.history, nil
	}
	h, err := history(n.Config.Member, charters, cards)
	if err != nil {
		return nil, err
	}
	n.history, n.generation, n.seen, n.looked = h, generation, changes, now
	return h, nil
}

// recover brings the home into the state that normal operation leaves: the head covers every leaf and the log says as of now that this is
// all of it (if the home was put back to what it was, that contradicts what was signed since), no blob is without its row, no staging file of a sending is left, nor a file that was to replace another. It does the same however often it runs.
func (n *node) recover(ctx context.Context) error {
	if err := n.Log.Stopped(); err != nil {
		n.log.Error("this node signs nothing any more, and takes and sends no documents", "error", err, "see", "entente audit forks")
	} else if _, err := n.Log.Renew(ctx); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	// A blob without a row comes from a crash between renaming it and the transaction; nobody was told about it.
	removed, err := n.Blobs.Prune(func(key statement.Hash) (kept bool, err error) {
		err = n.DB.View(ctx, func(v *store.View) error { kept, err = v.Kept(key); return err })
		return kept || err != nil, err
	})
	if err != nil {
		return fmt.Errorf("recover blobs: %w", err)
	}
	// A person's program starts an interrupted sending again from the beginning; a peer goes on where it was.
	for _, prefix := range []string{sendingPrefix, store.CopyingPrefix} {
		if err := n.Blobs.Drop(prefix); err != nil {
			return fmt.Errorf("recover staging: %w", err)
		}
	}
	if err := n.dropArrived(ctx); err != nil {
		return fmt.Errorf("recover staging: %w", err)
	}
	if err := n.endProposals(ctx); err != nil {
		return err
	}
	stale, err := n.Blobs.Sweep(n.now().Add(-limit.StagingAge))
	if err != nil {
		return fmt.Errorf("recover staging: %w", err)
	}
	unfinished, err := durable.Sweep(n.Dir, time.Now().Add(-limit.UnfinishedAge))
	if err != nil {
		return fmt.Errorf("recover files: %w", err)
	}
	if removed+stale+unfinished > 0 {
		n.log.Info("removed what nothing refers to", "blobs", removed, "staging", stale, "files", unfinished)
	}
	return nil
}

// dropArrived drops the staging files of documents that have arrived: without a journal, a file system may find the name again after a power cut
// that a file was renamed from.
func (n *node) dropArrived(ctx context.Context) error {
	staged, err := n.Blobs.Staged(receivingPrefix)
	if err != nil {
		return err
	}
	for rest := range staged {
		key, err := statement.ParseHash(rest[strings.LastIndexByte(rest, '-')+1:])
		if err != nil {
			continue // not ours; Sweep drops it in the end
		}
		var arrived bool
		err = n.DB.View(ctx, func(v *store.View) error { _, err := v.Header(key); return err })
		if arrived = err == nil; err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if arrived {
			if err := n.Blobs.Drop(receivingPrefix + rest); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweep drops what peers have left half delivered for too long, while the node runs, and warns once a day.
func (n *node) sweep(ctx context.Context) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for hour := 1; ; hour++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := n.Blobs.Sweep(n.now().Add(-limit.StagingAge)); err != nil {
			n.log.Error("cannot drop old staging files", "error", err)
		}
		if _, err := durable.Sweep(n.Dir, time.Now().Add(-limit.UnfinishedAge)); err != nil {
			n.log.Error("cannot drop files that were never finished", "error", err)
		}
		if err := n.endProposals(ctx); err != nil {
			n.log.Error("cannot end old proposals", "error", err)
		}
		n.renew()
		if hour%24 == 0 {
			n.warn()
		}
	}
}

// nudge tells the outbox that there may be something new.
func (n *node) nudge() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}
