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

// gossip tells the other members what we have learnt of the alliance: amendments of the charter, and cards. And what we have seen, so that a log cannot show different histories to different members: of each log the
// newest checkpoint that we co-signed, and proofs that a log forked. What others tell is compared with what we hold; where only the
// log itself can tell whether both fit together, it is asked, and asked again until it answers.
//
// Amendments, cards and proofs are told again after a restart, since they stand in the database and nobody notes who knows them; amendments
// and cards also when a member's answer shows that it knows another charter. Checkpoints are not: there are newer ones soon.
//
// A member that is suspended or in doubt is told of the alliance and nothing else, so that it learns why nobody exchanges with it any more.
type gossip struct {
	n    *node
	wake chan struct{} // there is a new claim, or a new teller may be needed

	mu      sync.Mutex // guards what follows
	tellers map[string]*teller
	history *member.History              // whose amendments and cards are texts
	texts   []text                       // to be told to everybody, in an order in which they can be taken
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
	knows       map[statement.Hash]bool   // amendments and cards that it was told
	good        bool                      // it is in good standing
	charter     statement.Hash            // the newest that it knew when it last answered
	asked       time.Time                 // when it was last told everything again
	failures    int64
	told        time.Time
}

// text is an amendment or a card.
type text struct {
	hash     statement.Hash
	raw      []byte
	card     bool
	newcomer []byte // with an admission the newcomer's first card, without which nobody could take it
}

// textsOf lists everything that was learnt since the founding, in an order in which it can be taken.
func textsOf(h *member.History) (list []text) {
	for _, a := range h.Amendments() {
		one := text{hash: a.Hash, raw: a.Raw}
		if c, ok := h.FirstCard(a.Terms.Card); ok {
			one.newcomer = c.Raw
		}
		list = append(list, one)
	}
	for _, m := range h.Members() {
		for _, c := range h.Cards(m.Name) {
			if !slices.ContainsFunc(h.Charter().Terms.Members, func(f statement.CharterMember) bool { return f.Card == c.Hash }) {
				list = append(list, text{hash: c.Hash, raw: c.Raw, card: true})
			}
		}
	}
	return list
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
		pause := min(g.settle(ctx), g.n.look) // programs beside the node may bring amendments and cards
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

// connect makes the tellers those of the members that have not left. start is called for each new one.
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
	if g.history != h {
		g.history, g.texts = h, textsOf(h)
	}
	for name, t := range g.tellers {
		if m, ok := h.Member(name); !ok || m.Standing == statement.Left {
			t.stop()
			delete(g.tellers, name)
		}
	}
	for _, m := range h.Members() {
		if m.Name == g.n.Config.Member || m.Standing == statement.Left {
			continue
		}
		good := m.Standing == statement.GoodStanding
		if t := g.tellers[m.Name]; t != nil {
			if t.good = good; t.owed(g.texts) != nil {
				poke(t.wake)
			}
			continue
		}
		life, stop := context.WithCancel(ctx)
		t := &teller{to: m.Name, wake: make(chan struct{}, 1), stop: stop, checkpoints: maps.Clone(g.seen), forks: map[statement.Hash][]byte{},
			knows: map[statement.Hash]bool{}, good: good, charter: h.Newest()}
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

// mostTold bounds the texts of one message: the largest amendment with a newcomer's card must fit. What protobuf adds fits into limit.Request.
const mostTold = limit.Charter + limit.Statement

// due gives what a member is to be told, or nil, and after what pause. Proofs do not wait for the pause between checkpoints.
func (g *gossip) due(t *teller) (req *ententev1.TellRequest, pause time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	req = &ententev1.TellRequest{}
	size := 0
	for _, one := range t.owed(g.texts) {
		if size += len(one.raw) + len(one.newcomer); size > mostTold || len(req.Amendments) == mostTexts || len(req.Cards) == mostTexts {
			break // the rest follows at once
		}
		switch {
		case one.card:
			req.Cards = append(req.Cards, one.raw)
		case one.newcomer != nil:
			req.Cards = append(req.Cards, one.newcomer)
			fallthrough
		default:
			req.Amendments = append(req.Amendments, one.raw)
		}
	}
	urgent := size > 0
	if t.good {
		for _, raw := range t.forks {
			if len(req.Forks) < mostForks && size+len(raw) <= mostTold {
				req.Forks, urgent = append(req.Forks, raw), true
				size += len(raw)
			}
		}
		for origin, raw := range t.checkpoints {
			if !ownedBy(origin, t.to) && len(req.Checkpoints) < limit.Members && size+len(raw) <= mostTold {
				req.Checkpoints = append(req.Checkpoints, raw)
				size += len(raw)
			}
		}
	}
	if !urgent && len(req.Checkpoints) == 0 {
		return nil, 0
	}
	switch {
	case t.failures > 0:
		pause = backoff(t.failures)
	case !urgent:
		pause = g.n.gossipPause
	}
	return req, time.Until(t.told.Add(pause))
}

// mostTexts is how many amendments or cards one message carries. See proto/entente/v1/peer.proto.
const mostTexts = 64

// owed lists the amendments and cards that a member was not told yet.
func (t *teller) owed(texts []text) (list []text) {
	for _, one := range texts {
		if !t.knows[one.hash] {
			list = append(list, one)
		}
	}
	return list
}

// shows notes which charter a member says to know; none, if it could not take all of what it was told yet. If it is another one than ours,
// it is told everything once more, and so, by its own gossip, are we.
func (g *gossip) shows(peer string, charter []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tellers[peer]
	if t == nil || g.history == nil {
		return
	}
	var known statement.Hash
	copy(known[:], charter)
	if known == g.history.Newest() || known == t.charter && time.Since(t.asked) < limit.RetryMost || len(t.owed(g.texts)) > 0 {
		t.charter = known
		return
	}
	t.charter, t.asked = known, time.Now()
	clear(t.knows)
	poke(t.wake)
}

// told notes what a member has told us, so that it is not told back.
func (g *gossip) told(peer string, h *member.History, req *ententev1.TellRequest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tellers[peer]
	if t == nil {
		return
	}
	for _, raw := range slices.Concat(req.GetAmendments(), req.GetCards()) {
		if hash, err := statement.HashOf(raw); err == nil && slices.ContainsFunc(textsOf(h), func(one text) bool { return one.hash == hash }) {
			t.knows[hash] = true
		}
	}
}

// ownedBy tells whether a log's origin is of the form that a member's logs have.
func ownedBy(origin, owner string) bool { return strings.HasPrefix(origin, owner+"/") }

// tell tells a member once, and takes note of what it knows then.
func (g *gossip) tell(ctx context.Context, t *teller, req *ententev1.TellRequest) {
	answer, err := g.n.callTell(ctx, t.to, req)
	if err != nil && ctx.Err() == nil {
		g.n.log.Warn("cannot tell what was seen", "peer", t.to, "error", describe(err))
	}
	if err == nil {
		defer g.shows(t.to, answer.GetCharterSha256()) // once mu is free
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	t.told = time.Now()
	if err != nil {
		t.failures++
		return
	}
	t.failures = 0
	for _, raw := range slices.Concat(req.Amendments, req.Cards) {
		if hash, err := statement.HashOf(raw); err == nil {
			t.knows[hash] = true
		}
	}
	for _, raw := range req.Forks {
		delete(t.forks, statement.HashBytes(raw))
	}
	maps.DeleteFunc(t.checkpoints, func(origin string, raw []byte) bool {
		return ownedBy(origin, t.to) || slices.ContainsFunc(req.Checkpoints, func(told []byte) bool { return bytes.Equal(told, raw) })
	})
}

func (n *node) callTell(ctx context.Context, peer string, req *ententev1.TellRequest) (*ententev1.TellResponse, error) {
	h, err := n.alliance(ctx)
	if err != nil {
		return nil, err
	}
	to, ok := h.Member(peer)
	if !ok {
		return nil, fmt.Errorf("%s is no member", peer)
	}
	ctx, cancel := context.WithTimeout(ctx, limit.WitnessCall)
	defer cancel()
	return call(ctx, n, to, func(c ententev1.PeerServiceClient) (*ententev1.TellResponse, error) { return c.Tell(ctx, req) })
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
	later := false // is there anything that could be taken later?
	if len(req.GetAmendments())+len(req.GetCards()) > 0 {
		learned, err := n.learn(ctx, peer, req.GetAmendments(), req.GetCards())
		if err != nil {
			return nil, err
		}
		n.gossip.told(peer, learned.History, req)
		h = learned.History
		// What contradicts what was here first is not its teller's fault.
		if err := learned.Err(); err != nil && fault.KindOf(err) == fault.Invalid {
			return nil, n.rejectInvalid(ctx, peer, err)
		}
		later = slices.ContainsFunc(learned.Refused, func(err error) bool { return fault.KindOf(err) == fault.Transient })
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
	if later {
		return &ententev1.TellResponse{}, nil
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
