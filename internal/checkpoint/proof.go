package checkpoint

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"entente.example/internal/limit"
)

// Proof is a C2SP tlog-proof: that a leaf stands at an index of a log, under a checkpoint. It has no extra data.
type Proof struct {
	Index      int64
	Hashes     tlog.RecordProof
	Checkpoint []byte // with the witnesses' lines
}

const proofLine = "c2sp.org/tlog-proof@v1"

// Format renders a proof as C2SP tlog-proof says.
func (p Proof) Format() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nindex %d\n", proofLine, p.Index)
	for _, h := range p.Hashes {
		fmt.Fprintf(&b, "%s\n", h)
	}
	b.WriteByte('\n')
	b.Write(p.Checkpoint)
	return b.Bytes()
}

// ParseProof reads a proof, which must be its own rendering. Nothing is verified: that is Check's part.
func ParseProof(raw []byte) (Proof, error) {
	var p Proof
	if len(raw) > limit.Proof {
		return p, fmt.Errorf("read proof: it has %d bytes, at most %d are allowed", len(raw), limit.Proof)
	}
	head, rest, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		return p, errors.New("read proof: it is cut off")
	}
	p.Checkpoint = rest
	lines := strings.Split(string(head), "\n")
	if len(lines) < 2 || lines[0] != proofLine {
		return p, fmt.Errorf("read proof: its first line must be %q", proofLine)
	}
	index, ok := strings.CutPrefix(lines[1], "index ")
	n, err := strconv.ParseInt(index, 10, 64)
	if !ok || err != nil || n < 0 {
		return p, errors.New("read proof: its second line must name the leaf's index")
	}
	p.Index = n
	if p.Hashes, err = parseHashes(lines[2:]); err != nil {
		return p, fmt.Errorf("read proof: %w", err)
	}
	if !bytes.Equal(p.Format(), raw) {
		return p, errors.New("read proof: it is not in the one spelling")
	}
	return p, nil
}

// mostHashes bounds a proof in a tree of up to 2^63 leaves.
const mostHashes = 63

// parseHashes reads hashes in base64, one a line.
func parseHashes(lines []string) ([]tlog.Hash, error) {
	if len(lines) > mostHashes {
		return nil, fmt.Errorf("it has %d hashes, at most %d are allowed", len(lines), mostHashes)
	}
	var list []tlog.Hash
	for _, l := range lines {
		h, err := tlog.ParseHash(l)
		if err != nil || h.String() != l {
			return nil, fmt.Errorf("%.60q is not 32 bytes in base64", l)
		}
		list = append(list, h)
	}
	return list, nil
}

// Check proves that leaf stands at p.Index of the log under its checkpoint, whose every line is verified as Open does it.
func (p Proof) Check(leaf []byte, log Log, witnesses ...Witness) (*Checkpoint, error) {
	c, err := Open(p.Checkpoint, log, witnesses...)
	if err != nil {
		return nil, fmt.Errorf("check proof of leaf %d: %w", p.Index, err)
	}
	if p.Index >= c.Tree.N {
		return nil, fmt.Errorf("check proof of leaf %d: the checkpoint covers %d leaves", p.Index, c.Tree.N)
	}
	if err := tlog.CheckRecord(p.Hashes, c.Tree.N, c.Tree.Hash, p.Index, tlog.RecordHash(leaf)); err != nil {
		return nil, fmt.Errorf("check proof of leaf %d: the leaf is not there under this checkpoint: %w", p.Index, err)
	}
	return c, nil
}

// Request is what a log asks a witness, the body of add-checkpoint in C2SP tlog-witness.
type Request struct {
	Old        int64 // the size that the witness co-signed last, as far as the log knows
	Proof      tlog.TreeProof
	Checkpoint []byte
}

// Format renders a request.
func (r Request) Format() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", r.Old)
	for _, h := range r.Proof {
		fmt.Fprintf(&b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
	}
	b.WriteByte('\n')
	b.Write(r.Checkpoint)
	return b.Bytes()
}

// ParseRequest reads a request strictly. Nothing is verified.
func ParseRequest(raw []byte) (Request, error) {
	var r Request
	if len(raw) > limit.Proof {
		return r, fmt.Errorf("read request: it has %d bytes, at most %d are allowed", len(raw), limit.Proof)
	}
	head, rest, ok := bytes.Cut(raw, []byte("\n\n"))
	if !ok {
		return r, errors.New("read request: it is cut off")
	}
	r.Checkpoint = rest
	lines := strings.Split(string(head), "\n")
	old, ok := strings.CutPrefix(lines[0], "old ")
	n, err := strconv.ParseInt(old, 10, 64)
	if !ok || err != nil || n < 0 {
		return r, errors.New("read request: its first line must name the old size")
	}
	r.Old = n
	if r.Proof, err = parseHashes(lines[1:]); err != nil {
		return r, fmt.Errorf("read request: %w", err)
	}
	if !bytes.Equal(r.Format(), raw) {
		return r, errors.New("read request: it is not in the one spelling")
	}
	return r, nil
}
