package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"entente.example/internal/client"
	"entente.example/internal/fault"
	"entente.example/internal/policy"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// Growth is how fast a recipient's node is when its home holds so many exchanges.
type Growth struct {
	Exchanges int
	Leaves    float64       // leaves in a second, each with its fact in an update of its own, 16 at any time, durable
	Decisions float64       // decisions in a second, on one processor
	Exchange  time.Duration // from send to the sender's durable receipt, the document 4 KiB
	Inbox     time.Duration // the first page of the inbox, 100 exchanges
	Proof     time.Duration // evidence of one exchange, with the leaves of both sides
	Verify    time.Duration // audit verify --all
}

// GrowthOptions says what to measure, and where.
type GrowthOptions struct {
	Options
	Exchanges []int // the sizes of the homes, at least atOnce each
}

// How much of what is measured.
const (
	atOnce    = 16
	facts     = 1600 // of the exchanges, at most half of all: written one by one, and timed
	newest    = 16   // exchanges that are really made at the end, and proved
	asked     = 51   // times each question is asked
	decisions = 4000
)

// grown is one home with so many exchanges, and its node.
type grown struct {
	Growth
	dir   string
	nodes *nodes
	// The recipient's person, and the exchanges that were really made.
	person *client.Client
	refs   []string
}

// RunGrowth fills homes, one for each size, and measures them in turns.
func RunGrowth(ctx context.Context, o GrowthOptions) (_ []Growth, err error) {
	dir, err := os.MkdirTemp(o.Dir, "entente-bench-")
	if err != nil {
		return nil, fault.New(fault.Misused, "name a folder on a disk with room: --dir DIR", "make a folder for the measurement: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var homes []*grown
	defer func() {
		for _, g := range homes {
			err = errors.Join(err, g.stop())
		}
	}()
	for i, n := range o.Exchanges {
		g := &grown{Growth: Growth{Exchanges: n}, dir: filepath.Join(dir, strconv.Itoa(i))}
		homes = append(homes, g)
		if err := g.grow(ctx, o); err != nil {
			return nil, fmt.Errorf("make %d exchanges: %w", n, err)
		}
	}
	o.Doing("asking the nodes")
	if err := ask(ctx, homes); err != nil {
		return nil, err
	}
	for _, g := range homes { // verifying takes long, and may be interrupted
		o.Doing(fmt.Sprintf("%d exchanges: first page of the inbox %.1f ms, proof of one %.1f ms", g.Exchanges, 1000*g.Inbox.Seconds(), 1000*g.Proof.Seconds()))
	}
	var list []Growth
	for _, g := range homes {
		if err := g.stop(); err != nil {
			return nil, err
		}
		o.Doing(fmt.Sprintf("verifying %d exchanges", g.Exchanges))
		begin := time.Now()
		cmd := o.Program(ctx, "audit", "verify", "--all", "--json", "--home", filepath.Join(g.dir, to))
		if out, err := cmd.Output(); err != nil {
			return nil, fmt.Errorf("verify %d exchanges: %w\n%.2000s", g.Exchanges, err, out)
		}
		g.Verify = time.Since(begin)
		list = append(list, g.Growth)
	}
	return list, nil
}

// grow founds an alliance, fills the recipient's home, starts the nodes and makes the newest exchanges.
func (g *grown) grow(ctx context.Context, o GrowthOptions) error {
	addresses, err := freeAddresses(4)
	if err != nil {
		return err
	}
	if err := found(ctx, g.dir, addresses, time.Now().Add(-past)); err != nil {
		return err
	}
	if err := g.fill(ctx, o); err != nil {
		return err
	}
	if g.nodes, err = startNodes(ctx, o.Options, "growth-"+strconv.Itoa(g.Exchanges), g.dir, addresses); err != nil {
		return err
	}
	if g.person, err = client.Dial(filepath.Join(g.dir, to), to, addresses[3], recipient); err != nil {
		return err
	}
	document := filepath.Join(g.dir, "document")
	if err := writeDocument(document, 4<<10); err != nil {
		return err
	}
	var took []time.Duration
	for range newest {
		begin := time.Now()
		ref, err := g.nodes.send(ctx, document)
		if err == nil {
			err = g.nodes.settled(ctx, ref)
		}
		if err != nil {
			return err
		}
		took, g.refs = append(took, time.Since(begin)), append(g.refs, ref)
	}
	g.Exchange = middle(took)
	return nil
}

// fill fills the recipient's home, and times the last facts and some decisions.
func (g *grown) fill(ctx context.Context, o GrowthOptions) (err error) {
	f, err := openFilling(ctx, g.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.home.Close()) }()
	single := min(facts, g.Exchanges/2)
	bulk := g.Exchanges - single
	told := time.Now()
	err = f.fill(ctx, bulk, func(done int) {
		if time.Since(told) > 5*time.Second {
			told = time.Now()
			o.Doing(fmt.Sprintf("making %d exchanges: %d", g.Exchanges, done))
		}
	})
	if err != nil {
		return err
	}
	o.Doing(fmt.Sprintf("making %d exchanges: the last %d one by one", g.Exchanges, single))
	list, err := f.many(bulk, g.Exchanges, false)
	if err != nil {
		return err
	}
	if g.Leaves, err = f.facts(ctx, list); err != nil {
		return err
	}
	request := f.request(list[0].manifest.Terms)
	begin := time.Now()
	for range decisions {
		if !policy.Decide(request).Permit {
			return errors.New("a decision changed")
		}
	}
	g.Decisions = decisions / time.Since(begin).Seconds()
	_, err = f.home.Log.Publish(ctx)
	return err
}

// facts writes down each document in an update of its own, as a node does that receives many at once, and gives how many in a second.
func (f *filling) facts(ctx context.Context, list []received) (float64, error) {
	group, some := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	begin := time.Now()
	for _, one := range list {
		if some.Err() != nil {
			break
		}
		group.Go(func() error { return f.home.DB.Update(some, func(tx *store.Tx) error { return f.put(tx, one) }) })
	}
	err := group.Wait()
	return float64(len(list)) / time.Since(begin).Seconds(), cmp.Or(err, ctx.Err())
}

// ask asks every node in turns for its inbox, and then for proofs.
func ask(ctx context.Context, homes []*grown) error {
	inbox, proof := make([][]time.Duration, len(homes)), make([][]time.Duration, len(homes))
	for n := range asked {
		for i, g := range homes {
			begin := time.Now()
			page, err := g.person.Node().List(ctx, &ententev1.ListRequest{Direction: ententev1.Direction_DIRECTION_IN})
			if err != nil {
				return err
			}
			inbox[i] = append(inbox[i], time.Since(begin))
			if len(page.GetExchanges()) == 0 {
				return errors.New("the inbox is empty")
			}
			begin = time.Now()
			done, err := g.person.Evidence(ctx, g.refs[n%len(g.refs)], false, io.Discard)
			if err != nil {
				return err
			}
			proof[i] = append(proof[i], time.Since(begin))
			if missing := done.GetOtherSideMissing(); missing != "" {
				return fmt.Errorf("the evidence is not whole: %s", missing)
			}
		}
	}
	for i, g := range homes {
		g.Inbox, g.Proof = middle(inbox[i]), middle(proof[i])
	}
	return nil
}

// stop stops the nodes, if they run.
func (g *grown) stop() error {
	var err error
	if g.person != nil {
		err = g.person.Close()
	}
	if g.nodes != nil {
		err = errors.Join(err, g.nodes.close())
	}
	g.person, g.nodes = nil, nil
	return err
}

// middle gives the median.
func middle(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
