package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/member"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Learned is what Learn came to.
type Learned struct {
	History *member.History // with everything that is known now
	New     int             // amendments and cards that were not known before
	// Refused is why texts were left out, the worst first; empty if none was. What was good of the others is kept.
	Refused []error
}

// Err gives the worst reason for which a text was left out, or nil.
func (l Learned) Err() error {
	if len(l.Refused) == 0 {
		return nil
	}
	return l.Refused[0]
}

// Learn takes in amendments of the charter and cards of members, in any order and from anybody: each is verified by itself, against what
// is known. What is new is stored, each with its leaf, in one transaction; what is known already changes nothing. A text that cannot be
// taken keeps no other one out. The error is for what is wrong here, not with a text.
//
// It works beside a running node, which passes on what is new.
func (h *Home) Learn(ctx context.Context, now time.Time, amendments, cards [][]byte) (Learned, error) {
	for range 10 {
		history, generation, err := h.trust(ctx)
		if err != nil {
			return Learned{}, err
		}
		f := &finding{self: h.Config.Member, now: now, history: history}
		f.take(amendments, cards)
		out := Learned{History: f.history, New: len(f.amendments) + len(f.cards), Refused: f.refused}
		if out.New == 0 {
			return out, nil
		}
		err = h.DB.Update(ctx, func(tx *store.Tx) error {
			// Somebody else may have learnt something since, which could make a difference.
			if g, err := tx.Generation(); err != nil || g != generation {
				return errors.Join(err, errRaced)
			}
			return f.store(tx)
		})
		if errors.Is(err, errRaced) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return Learned{}, fmt.Errorf("learn: %w", err)
		}
		if h.Log.Stopped() == nil { // a stopped log still needs to know whom not to trust
			if _, err := h.Log.Publish(ctx); err != nil {
				return Learned{}, fmt.Errorf("publish log: %w", err)
			}
		}
		return out, nil
	}
	return Learned{}, fault.New(fault.Transient, "try again", "learn: what is known of the alliance changes all the time")
}

var errRaced = errors.New("somebody else was faster")

// trust gives what is known of the alliance, and the generation of the database at which it is known.
func (h *Home) trust(ctx context.Context) (*member.History, int64, error) {
	var charters, cards [][]byte
	var generation int64
	err := h.DB.View(ctx, func(v *store.View) (err error) {
		if generation, err = v.Generation(); err != nil {
			return err
		}
		if charters, err = v.Charters(); err != nil {
			return err
		}
		cards, err = v.Cards()
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read charter: %w", err)
	}
	known, err := history(h.Config.Member, charters, cards)
	return known, generation, err
}

// finding is what is found in texts that somebody brought.
type finding struct {
	self    string
	now     time.Time
	history *member.History

	amendments []*statement.Signed[statement.Amendment] // the new ones, in the order in which they can be taken
	cards      []*statement.Signed[statement.Card]      // the new ones, a newcomer's first card among them
	refused    []error
}

// take looks at all texts, round after round: an amendment may need a card before it, and a card the amendment that admits its member.
func (f *finding) take(amendments, cards [][]byte) {
	var all []*statement.Signed[statement.Card]
	for _, raw := range cards {
		c, err := statement.OpenSelfSigned[statement.Card](raw)
		if err != nil {
			f.refused = append(f.refused, fault.New(fault.Invalid, "ask the member for its card again", "%w", err))
			continue
		}
		all = append(all, c)
	}
	open := slices.Clone(all)
	for {
		var why []error
		before := len(open) + len(amendments)
		open = slices.DeleteFunc(slices.Clone(open), func(c *statement.Signed[statement.Card]) bool {
			err := f.card(c)
			why = appendError(why, err)
			return err == nil
		})
		amendments = slices.DeleteFunc(slices.Clone(amendments), func(raw []byte) bool {
			err := f.amendment(raw, all)
			why = appendError(why, err)
			return err == nil
		})
		if len(open)+len(amendments) == before || len(why) == 0 {
			f.refused = append(f.refused, why...)
			break
		}
	}
	slices.SortStableFunc(f.refused, func(a, b error) int { return severity(a) - severity(b) })
}

func appendError(list []error, err error) []error {
	if err == nil {
		return list
	}
	return append(list, err)
}

// severity orders the reasons for which a text is left out: first those that whoever brought it answers for.
func severity(err error) int {
	switch fault.KindOf(err) {
	case fault.Invalid:
		return 0
	case fault.Conflict:
		return 1
	default:
		return 2
	}
}

// card takes one card, if it has its place now.
func (f *finding) card(c *statement.Signed[statement.Card]) error {
	if c.Terms.Created.After(f.now.Add(limit.ClockSkew)) {
		return fault.New(fault.Transient, "compare the clocks", "version %d of the card of %q is dated %s, which is in the future", c.Terms.Version, c.Terms.Member, c.Terms.Created.Format(time.RFC3339))
	}
	if len(f.history.Cards(c.Terms.Member)) >= limit.Cards && !f.known(c) {
		return fault.New(fault.Invalid, "found a new alliance", "%q has made %d cards, and more are not taken", c.Terms.Member, limit.Cards)
	}
	if _, ok := f.history.Member(c.Terms.Member); !ok {
		return fault.New(fault.Transient, "bring the amendment that admits it", "the card of %q, who is no member, has no place here", c.Terms.Member)
	}
	if _, err := f.history.OpenCard(c.Raw); err != nil {
		return err
	}
	next, err := f.history.Renew(c)
	if err != nil {
		return err
	}
	if next != f.history {
		f.history, f.cards = next, append(f.cards, c)
	}
	return nil
}

func (f *finding) known(c *statement.Signed[statement.Card]) bool {
	return slices.ContainsFunc(f.history.Cards(c.Terms.Member), func(k *statement.Signed[statement.Card]) bool { return k.Hash == c.Hash })
}

// amendment takes one amendment, if the version before it is known.
func (f *finding) amendment(raw []byte, cards []*statement.Signed[statement.Card]) error {
	hash, err := statement.HashOf(raw)
	if err != nil {
		return fault.New(fault.Invalid, "ask for the amendment again", "%w", err)
	}
	if slices.ContainsFunc(f.history.Amendments(), func(a *statement.Signed[statement.Amendment]) bool { return a.Hash == hash }) {
		return nil
	}
	a, err := f.history.OpenAmendment(raw)
	if err != nil {
		return err
	}
	next, err := f.history.Amend(a, cards...)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(cards, func(c *statement.Signed[statement.Card]) bool { return c.Hash == a.Terms.Card }); i >= 0 {
		f.cards = append(f.cards, cards[i]) // the newcomer's first card; it may be known from another branch
	}
	f.history, f.amendments = next, append(f.amendments, a)
	return nil
}

// store writes down what is new, with its leaves.
func (f *finding) store(tx *store.Tx) error {
	for _, a := range f.amendments {
		event := statement.Event{Kind: statement.EventAmended, Time: f.now, Statement: a.Hash}
		if a.Terms.Member != "" && a.Terms.Member != f.self {
			event.Peers = []string{a.Terms.Member}
		}
		if err := tx.PutAmendment(a); err != nil {
			return err
		}
		if _, err := tx.Record(event); err != nil {
			return err
		}
	}
	for _, c := range f.cards {
		switch err := tx.PutCard(c); {
		case errors.Is(err, store.ErrExists):
			continue
		case err != nil:
			return err
		}
		if _, err := tx.Record(statement.Event{Kind: statement.EventCard, Time: f.now, Statement: c.Hash, Peers: []string{c.Terms.Member}}); err != nil {
			return err
		}
	}
	return nil
}

// learn is Learn at a running node: it also tells the log of the process, and the other members.
func (n *node) learn(ctx context.Context, teller string, amendments, cards [][]byte) (Learned, error) {
	out, err := n.Home.Learn(ctx, n.now(), amendments, cards)
	if err != nil {
		return out, err
	}
	for _, err := range out.Refused {
		if fault.KindOf(err) == fault.Conflict {
			n.log.Error("a member contradicts itself", "told_by", teller, "error", err)
		}
	}
	if out.New == 0 {
		return out, nil
	}
	n.log.Info("learnt of a change in the alliance", "told_by", teller, "texts", out.New, "charter", out.History.Newest().Short(), "version", out.History.Version())
	if fork := out.History.Fork(); fork != nil {
		n.log.Error("the charter is forked: nothing is exchanged with the members concerned until it is settled", "fork", fork.String(), "see", "entente charter show")
	}
	n.rounds.nudge()
	poke(n.gossip.wake)
	n.nudge() // what waited for somebody's good standing may go now
	return out, nil
}

// Learn takes in what somebody mailed to an administrator, as proto/entente/v1/node.proto says.
func (n *node) Learn(ctx context.Context, req *ententev1.LearnRequest) (*ententev1.LearnResponse, error) {
	who, err := n.entitled(ctx, "change what is known of the alliance", "admin")
	if err != nil {
		return nil, err
	}
	out, err := n.learn(ctx, who.Name, req.GetAmendments(), req.GetCards())
	if err == nil {
		err = out.Err()
	}
	if err != nil {
		return nil, err
	}
	return &ententev1.LearnResponse{CharterSha256: out.History.Newest().String()}, nil
}
