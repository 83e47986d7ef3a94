package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/limit"
)

// Fork is two checkpoints of one log that cannot both be honest, whoever holds them. There are three ways:
//
//   - two roots of one size;
//   - the one that was signed later is smaller, though the log said each time that this was its largest tree: it was rolled back;
//   - the larger tree begins with another root than the smaller one, as OldRoot and Proof show.
type Fork struct {
	Smaller, Larger []byte // bare checkpoints; of one size: sorted by their bytes
	OldRoot         tlog.Hash
	Proof           tlog.TreeProof // that the larger tree begins with OldRoot at the smaller size; nil where it is not needed
}

const (
	forkLine    = "entente.example/fork/v1"
	smallerLine = "--- smaller\n"
	largerLine  = "--- larger\n"
)

// Format renders a fork proof as it is kept and sent: a first line that names the type, then, if it needs them, a line old_root with a hash in
// base64 and the hashes of the proof, one a line, and both checkpoints behind lines of their own.
func (f Fork) Format() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", forkLine)
	if f.Proof != nil {
		fmt.Fprintf(&b, "old_root %s\n", f.OldRoot)
		for _, h := range f.Proof {
			fmt.Fprintf(&b, "%s\n", h)
		}
	}
	b.WriteString(smallerLine)
	b.Write(f.Smaller)
	b.WriteString(largerLine)
	b.Write(f.Larger)
	return b.Bytes()
}

// ParseFork reads a fork proof, which must be its own rendering. It verifies nothing: that is Check's part.
func ParseFork(raw []byte) (Fork, error) {
	var f Fork
	if len(raw) > limit.Fork {
		return f, fmt.Errorf("read fork: it has %d bytes, at most %d are allowed", len(raw), limit.Fork)
	}
	head, rest, ok := bytes.Cut(raw, []byte(smallerLine))
	small, large, also := bytes.Cut(rest, []byte(largerLine))
	if !ok || !also {
		return f, errors.New("read fork: it is cut off")
	}
	f.Smaller, f.Larger = small, large
	lines := strings.Split(strings.TrimSuffix(string(head), "\n"), "\n")
	if lines[0] != forkLine {
		return f, fmt.Errorf("read fork: its first line must be %q", forkLine)
	}
	if len(lines) > 1 {
		old, ok := strings.CutPrefix(lines[1], "old_root ")
		hashes, err := parseHashes([]string{old})
		if !ok || err != nil {
			return f, errors.New("read fork: its second line must name the old root")
		}
		f.OldRoot = hashes[0]
		if f.Proof, err = parseHashes(lines[2:]); err != nil {
			return f, fmt.Errorf("read fork: %w", err)
		}
		if f.Proof == nil {
			f.Proof = tlog.TreeProof{}
		}
	}
	if !bytes.Equal(f.Format(), raw) {
		return f, errors.New("read fork: it is not in the one spelling")
	}
	return f, nil
}

// Origin names the log that a fork proof is about, without verifying anything, for choosing the keys to check it with.
func (f Fork) Origin() (string, error) {
	origin, _, err := Head(f.Smaller)
	return origin, err
}

// NewFork puts two checkpoints into order. Their cosignatures are left out; they prove nothing here.
func NewFork(a, b []byte) (Fork, error) {
	a, err := Bare(a)
	if err != nil {
		return Fork{}, err
	}
	if b, err = Bare(b); err != nil {
		return Fork{}, err
	}
	_, ta, err := Head(a)
	if err != nil {
		return Fork{}, err
	}
	_, tb, err := Head(b)
	if err != nil {
		return Fork{}, err
	}
	if ta.N > tb.N || ta.N == tb.N && slices.Compare(a, b) > 0 {
		a, b = b, a
	}
	return Fork{Smaller: a, Larger: b}, nil
}

// Check says in one sentence what the two checkpoints prove against the log, or an error if they prove nothing.
func (f Fork) Check(log Log) (string, error) {
	small, err := Open(f.Smaller, log)
	if err != nil {
		return "", fmt.Errorf("check fork: %w", err)
	}
	large, err := Open(f.Larger, log)
	if err != nil {
		return "", fmt.Errorf("check fork: %w", err)
	}
	if len(small.Cosigned)+len(large.Cosigned) > 0 || small.Tree.N > large.Tree.N ||
		small.Tree.N == large.Tree.N && slices.Compare(f.Smaller, f.Larger) > 0 {
		return "", fmt.Errorf("check fork: the checkpoints are not in their one order")
	}
	switch {
	case small.Tree.N == large.Tree.N && small.Tree.Hash != large.Tree.Hash && f.Proof == nil:
		return fmt.Sprintf("%s signed two different logs of %d leaves", log.Origin(), small.Tree.N), nil
	case small.Tree.N < large.Tree.N && small.Time.After(large.Time) && f.Proof == nil:
		return fmt.Sprintf("%s had %d leaves at %s, and said at %s that it had %d: it was rolled back", log.Origin(), large.Tree.N,
			large.Time.Format(time.RFC3339), small.Time.Format(time.RFC3339), small.Tree.N), nil
	case f.Proof == nil || small.Tree.N == large.Tree.N || f.OldRoot == small.Tree.Hash || small.Tree.N < 1:
		return "", fmt.Errorf("check fork: the two checkpoints of %s do not contradict each other", log.Origin())
	}
	if err := tlog.CheckTree(f.Proof, large.Tree.N, large.Tree.Hash, small.Tree.N, f.OldRoot); err != nil {
		return "", fmt.Errorf("check fork: the larger tree does not begin with the root that is claimed: %w", err)
	}
	return fmt.Sprintf("%s signed %d leaves, and then %d that do not begin with them", log.Origin(), small.Tree.N, large.Tree.N), nil
}
