package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/audit"
	"entente.example/internal/checkpoint"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// gossip tells the other members what we have seen, so that a log cannot show different histories to different members: of each log the
// newest checkpoint that we co-signed, and proofs that a log forked. What others tell is compared with what we hold; where only the
// log itself can tell whether both fit together, it is asked, and asked again until it answers.
//
// Proofs are told again after a restart, since they stand in the database and nobody notes who knows them. Checkpoints are not: there
// are newer ones soon.
type gossip struct {
	n    *node
	wake chan struct{} // there is a new claim, or a new teller may be needed

	mu      sync.Mutex // guards what follows
	tellers map[string]*teller
	seen    map[string][]byte            // by log, the newest checkpoint that we co-signed
	fit     map[string][]tlog.Tree       // by log, trees that it had, as we know: the newest few
	claims  map[string]map[string][]byte // by log and who told it, checkpoints that were not compared yet
	retry   map[string]*retry            // by log, that does not answer what would settle a claim
}

// teller is one member that we tell.
type teller struct {
	to          string
	wake        chan struct{}
	stop        context.CancelFunc
	checkpoints map[string][]byte         // by log
	forks       map[statement.Hash][]byte // proofs
	failures    int64
	told        time.Time
}

type retry struct {
	failures int64
	pause    time.Time
}

// mostFit bounds what is remembered of each log. A checkpoint is told within seconds; more would hardly be asked for.
const mostFit = 64

func newGossip(n *node) *gossip {
	return &gossip{n: n, wake: make(chan struct{}, 1), tellers: map[string]*teller{}, seen: map[string][]byte{}, fit: map[string][]tlog.Tree{},
		claims: map[string]map[string][]byte{}, retry: map[string]*retry{}}
}

// saw notes that we have co-signed a checkpoint, to be told to everybody but its owner.
func (g *gossip) saw(origin string, tree tlog.Tree, bare []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fits(origin, tree)
	if bytes.Equal(g.seen[origin], bare) {
		return
	}
	g.seen[origin] = bare
	for _, t := range g.tellers {
		t.checkpoints[origin] = bare
		poke(t.wake)
	}
	if len(g.claims[origin]) > 0 {
		poke(g.wake)
	}
}

// fits remembers that a log had a tree. The caller holds mu.
func (g *gossip) fits(origin string, tree tlog.Tree) {
	if list := g.fit[origin]; !slices.Contains(list, tree) {
		g.fit[origin] = append(list[max(0, len(list)-mostFit+1):], tree)
	}
}

// forked notes a proof to be told to everybody but who told it.
func (g *gossip) forked(raw []byte, except string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.tellers {
		if t.to != except {
			t.forks[statement.HashBytes(raw)] = raw
			poke(t.wake)
		}
	}
}

// run works until ctx ends.
func (g *gossip) run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	for {
		if err := g.connect(ctx, func(ctx context.Context, t *teller) { work.Go(func() { g.serve(ctx, t) }) }); err != nil && ctx.Err() == nil {
			g.n.log.Error("cannot tell others what was seen", "error", err)
		}
		pause := g.settle(ctx)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-g.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// connect makes the tellers those of the members that are now in good standing. start is called for each new one.
func (g *gossip) connect(ctx context.Context, start func(context.Context, *teller)) error {
	h, err := g.n.alliance(ctx)
	if err != nil {
		return err
	}
	var forks []store.Fork
	if err := g.n.DB.View(ctx, func(v *store.View) (err error) { forks, err = v.Forks(""); return err }); err != nil {
		return fmt.Errorf("read forks: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, t := range g.tellers {
		if !h.InGoodStanding(name) {
			t.stop()
			delete(g.tellers, name)
		}
	}
	for _, m := range h.Members() {
		if m.Name == g.n.Config.Member || !h.InGoodStanding(m.Name) || g.tellers[m.Name] != nil {
			continue
		}
		life, stop := context.WithCancel(ctx)
		t := &teller{to: m.Name, wake: make(chan struct{}, 1), stop: stop, checkpoints: maps.Clone(g.seen), forks: map[statement.Hash][]byte{}}
		for _, f := range forks {
			t.forks[f.Hash] = f.Raw
		}
		g.tellers[m.Name] = t
		start(life, t)
	}
	return nil
}

// serve tells one member, until its teller ends.
func (g *gossip) serve(ctx context.Context, t *teller) {
	for ctx.Err() == nil {
		req, pause := g.due(t)
		if req != nil && pause <= 0 {
			g.tell(ctx, t, req)
			continue
		}
		var timer <-chan time.Time
		if req != nil {
			timer = time.After(pause)
		}
		select {
		case <-ctx.Done():
		case <-t.wake:
		case <-timer:
		}
	}
}

// mostForks is how many proofs one message carries. See proto/entente/v1/peer.proto.
const mostForks = 4

// due gives what a member is to be told, or nil, and after what pause. Proofs do not wait for the pause between checkpoints.
func (g *gossip) due(t *teller) (req *ententev1.TellRequest, pause time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	req = &ententev1.TellRequest{}
	for _, raw := range t.forks {
		if len(req.Forks) < mostForks {
			req.Forks = append(req.Forks, raw)
		}
	}
	for origin, raw := range t.checkpoints {
		if !ownedBy(origin, t.to) && len(req.Checkpoints) < limit.Members {
			req.Checkpoints = append(req.Checkpoints, raw)
		}
	}
	if len(req.Forks)+len(req.Checkpoints) == 0 {
		return nil, 0
	}
	switch {
	case t.failures > 0:
		pause = backoff(t.failures)
	case len(req.Forks) == 0:
		pause = g.n.gossipPause
	}
	return req, time.Until(t.told.Add(pause))
}

// ownedBy tells whether a log's origin is of the form that a member's logs have.
func ownedBy(origin, owner string) bool { return strings.HasPrefix(origin, owner+"/") }

// tell tells a member once, and takes note of what it knows then.
func (g *gossip) tell(ctx context.Context, t *teller, req *ententev1.TellRequest) {
	err := g.n.callTell(ctx, t.to, req)
	if err != nil && ctx.Err() == nil {
		g.n.log.Warn("cannot tell what was seen", "peer", t.to, "error", describe(err))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t.told = time.Now()
	if err != nil {
		t.failures++
		return
	}
	t.failures = 0
	for _, raw := range req.Forks {
		delete(t.forks, statement.HashBytes(raw))
	}
	maps.DeleteFunc(t.checkpoints, func(origin string, raw []byte) bool {
		return ownedBy(origin, t.to) || slices.ContainsFunc(req.Checkpoints, func(told []byte) bool { return bytes.Equal(told, raw) })
	})
}

func (n *node) callTell(ctx context.Context, peer string, req *ententev1.TellRequest) error {
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	to, ok := h.Member(peer)
	if !ok {
		return fmt.Errorf("%s is no member", peer)
	}
	ctx, cancel := context.WithTimeout(ctx, limit.WitnessCall)
	defer cancel()
	_, err = call(ctx, n, to, func(c ententev1.PeerServiceClient) (*ententev1.TellResponse, error) { return c.Tell(ctx, req) })
	return err
}

// Tell takes in what another member has seen, as proto/entente/v1/peer.proto says.
func (n *node) Tell(ctx context.Context, req *ententev1.TellRequest) (*ententev1.TellResponse, error) {
	return n.told(ctx, rpc.CallerFrom(ctx).Member, req)
}

func (n *node) told(ctx context.Context, peer string, req *ententev1.TellRequest) (*ententev1.TellResponse, error) {
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	for _, raw := range req.GetForks() {
		if err := n.learnFork(ctx, raw, peer); err != nil {
			return nil, n.rejectInvalid(ctx, peer, err)
		}
	}
	for _, raw := range req.GetCheckpoints() {
		if err := n.gossip.claim(ctx, h, peer, raw); err != nil {
			return nil, n.rejectInvalid(ctx, peer, err)
		}
	}
	charter := h.Newest()
	return &ententev1.TellResponse{CharterSha256: charter[:]}, nil
}

// rejectInvalid writes down that a peer sent what cannot be right; other errors are ours.
func (n *node) rejectInvalid(ctx context.Context, peer string, err error) error {
	if cause, ok := errors.AsType[*fault.Error](err); ok && cause.Kind == fault.Invalid {
		return n.reject(ctx, peer, cause)
	}
	return err
}

// claim takes in a checkpoint that somebody says to have seen.
func (g *gossip) claim(ctx context.Context, h *member.History, peer string, raw []byte) error {
	origin, _, err := checkpoint.Head(raw)
	if err != nil {
		return fault.New(fault.Invalid, "", "%w", err)
	}
	owner, log, ok := logOf(h, origin)
	if !ok {
		return fault.New(fault.Invalid, "", "the log %.80q is no member's", origin)
	}
	if _, err := checkpoint.Open(raw, log); err != nil {
		return fault.New(fault.Invalid, "", "%w", err)
	}
	if owner == g.n.Config.Member {
		if err := g.n.compareOwn(ctx, raw); err != nil {
			g.n.log.Error("somebody has seen another history of our log", "peer", peer, "error", err)
		}
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.claims[origin] == nil {
		g.claims[origin] = map[string][]byte{}
	}
	g.claims[origin][peer] = raw // its newest only: an older one that did not fit would not make this one fit
	poke(g.wake)
	return nil
}

// settle compares what others told with what we hold, and gives the pause after which to look again.
func (g *gossip) settle(ctx context.Context) (pause time.Duration) {
	pause = limit.RetryMost
	for _, c := range g.open() {
		err := g.compare(ctx, c.origin, c.raw)
		if ctx.Err() != nil {
			return pause
		}
		g.mu.Lock()
		if err == nil {
			if bytes.Equal(g.claims[c.origin][c.peer], c.raw) {
				delete(g.claims[c.origin], c.peer)
			}
			delete(g.retry, c.origin)
		} else {
			r := g.retry[c.origin]
			if r == nil {
				r = &retry{}
				g.retry[c.origin] = r
			}
			r.failures++
			wait := backoff(r.failures)
			r.pause = time.Now().Add(wait)
			pause = min(pause, wait)
		}
		g.mu.Unlock()
		if err != nil && !errors.Is(err, errNothingHeld) {
			g.n.log.Warn("cannot compare what another member saw of a log with what we hold", "log", c.origin, "told_by", c.peer, "error", describe(err))
		}
	}
	return pause
}

type claim struct {
	origin, peer string
	raw          []byte
}

// open lists the claims that are to be looked at now.
func (g *gossip) open() (list []claim) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for origin, byPeer := range g.claims {
		if r := g.retry[origin]; r != nil && time.Now().Before(r.pause) {
			continue
		}
		for peer, raw := range byPeer {
			list = append(list, claim{origin, peer, raw})
		}
	}
	return list
}

// errNothingHeld: the log has not asked us for a co-signature yet, so there is nothing to compare with.
var errNothingHeld = errors.New("nothing is held of that log")

// compare compares a checkpoint that somebody told with the one that we hold. Nil says that they fit together, or that it is proved and told
// that they do not.
func (g *gossip) compare(ctx context.Context, origin string, raw []byte) error {
	h, err := g.n.alliance(ctx)
	if err != nil {
		return err
	}
	owner, log, ok := logOf(h, origin)
	if !ok {
		return nil
	}
	if forked, err := g.n.forkOf(ctx, origin); err != nil || forked != nil {
		return err
	}
	told, err := checkpoint.Open(raw, log)
	if err != nil {
		return err
	}
	w, ok, err := g.n.witness.Held(origin)
	if err != nil {
		return err
	}
	if !ok {
		return errNothingHeld
	}
	held, err := checkpoint.Open(w.Note, log)
	if err != nil {
		return err
	}
	// What the two say by themselves comes first: the log may be the one that lies.
	if fork := audit.Contradiction(log, held.Raw, told.Raw, tlog.Hash{}, nil); fork != nil {
		return g.n.learnFork(ctx, fork, "")
	}
	g.mu.Lock()
	fits := told.Tree == held.Tree || slices.Contains(g.fit[origin], told.Tree)
	g.mu.Unlock()
	if fits || told.Tree.N == 0 {
		return nil
	}
	return g.askLog(ctx, h, owner, log, told, held)
}

// askLog asks a log to prove that the larger of two trees that it signed begins with the smaller one. What it answers proves that, or the
// reverse, or nothing.
func (g *gossip) askLog(ctx context.Context, h *member.History, owner string, log checkpoint.Log, told, held *checkpoint.Checkpoint) error {
	small, large := told, held
	if small.Tree.N > large.Tree.N {
		small, large = held, told
	}
	to, _ := h.Member(owner)
	ctx, cancel := context.WithTimeout(ctx, limit.WitnessCall)
	defer cancel()
	a, err := call(ctx, g.n, to, func(c ententev1.PeerServiceClient) (*ententev1.ConsistencyResponse, error) {
		return c.Consistency(ctx, &ententev1.ConsistencyRequest{OldSize: small.Tree.N, NewSize: large.Tree.N})
	})
	if err != nil {
		return err
	}
	proof := make(tlog.TreeProof, 0, len(a.GetHashes()))
	for _, h := range a.GetHashes() {
		if len(h) != tlog.HashSize {
			return errors.New("its proof is malformed")
		}
		proof = append(proof, tlog.Hash(h))
	}
	if tlog.CheckTree(proof, large.Tree.N, large.Tree.Hash, small.Tree.N, small.Tree.Hash) == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.fits(log.Origin(), told.Tree)
		return nil
	}
	if len(a.GetOldRoot()) == tlog.HashSize {
		if fork := audit.Contradiction(log, small.Raw, large.Raw, tlog.Hash(a.GetOldRoot()), proof); fork != nil {
			return g.n.learnFork(ctx, fork, "")
		}
	}
	return fmt.Errorf("%s cannot prove that its %d leaves begin with the %d that it signed as well", owner, large.Tree.N, small.Tree.N)
}
