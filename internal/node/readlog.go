package node

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"entente.example/internal/audit"
	"entente.example/internal/fault"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
	"entente.example/internal/store"
	ententev1 "entente.example/proto/entente/v1"
)

// cosignWait is how long a reader waits for the first co-signed checkpoint.
const cosignWait = 5 * time.Second

// FetchLog gives the log of our member, or of one whose charter names the caller as an auditor, to a person with the role auditor.
func (n *node) FetchLog(req *ententev1.FetchLogRequest, stream grpc.ServerStreamingServer[ententev1.FetchLogResponse]) error {
	ctx := stream.Context()
	who, err := n.entitled(ctx, "read a whole log", "auditor")
	if err != nil {
		return err
	}
	if req.GetMember() == n.Config.Member {
		return n.giveLog(ctx, nil, n.spiffe(who.Name), func(path string, chunk []byte, end bool) error {
			return stream.Send(&ententev1.FetchLogResponse{Path: path, Chunk: chunk, End: end})
		})
	}
	return n.relayLog(ctx, req.GetMember(), who.Name, stream)
}

// relayLog asks another member's node, and passes on what it gives. Whoever asked verifies it.
func (n *node) relayLog(ctx context.Context, name, person string, stream grpc.ServerStreamingServer[ententev1.FetchLogResponse]) error {
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	m, ok := h.Member(name)
	if !ok {
		return fault.New(fault.Misused, "entente charter show lists the members", "%.80q is no member of the alliance", name)
	}
	if !h.IsAuditor(n.Config.Member, person) {
		return fault.New(fault.Forbidden, "the charter lists auditors when it is drafted: entente charter draft --auditor", "the charter does not name %s as an auditor", n.spiffe(person))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := n.dial(ctx, m)
	if err != nil {
		return err
	}
	defer conn.Close()
	in, err := ententev1.NewPeerServiceClient(conn).ReadLog(ctx, &ententev1.ReadLogRequest{Auditor: n.spiffe(person)})
	if err != nil {
		return err
	}
	for {
		part, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&ententev1.FetchLogResponse{Path: part.GetPath(), Chunk: part.GetChunk(), End: part.GetEnd()}); err != nil {
			return err
		}
	}
}

// ReadLog gives our log to an auditor of another member, if the charter names that person. The member's node vouches for who asks.
func (n *node) ReadLog(req *ententev1.ReadLogRequest, stream grpc.ServerStreamingServer[ententev1.ReadLogResponse]) error {
	ctx := stream.Context()
	peer := rpc.CallerFrom(ctx).Member
	h, err := n.alliance(ctx)
	if err != nil {
		return err
	}
	person, ok := strings.CutPrefix(req.GetAuditor(), "spiffe://"+peer+"/person/")
	if !ok || !h.IsAuditor(peer, person) {
		return n.reject(ctx, peer, fault.New(fault.Forbidden, "the charter lists auditors when it is drafted", "the charter does not name %.80q as an auditor from %s", req.GetAuditor(), peer))
	}
	end, ok := n.busy.begin("reading for " + peer)
	if !ok {
		return fault.New(fault.Transient, "", "an auditor of %s is reading right now", peer)
	}
	defer end()
	if !n.leaves.allow(peer, n.now()) {
		return fault.New(fault.Transient, "", "%s has caused too many leaves within a minute", peer)
	}
	return n.giveLog(ctx, []string{peer}, req.GetAuditor(), func(path string, chunk []byte, end bool) error {
		return stream.Send(&ententev1.ReadLogResponse{Path: path, Chunk: chunk, End: end})
	})
}

// giveLog writes down who reads, and then gives the log as its newest co-signed checkpoint covers it: leaves and hashes, and nothing
// of what is behind them.
func (n *node) giveLog(ctx context.Context, peers []string, auditor string, send func(path string, chunk []byte, end bool) error) error {
	newest, err := n.newestCosigned(ctx)
	if err != nil {
		return err
	}
	err = n.commit(ctx, func(tx *store.Tx) error {
		_, err := tx.Record(statement.Event{Kind: statement.EventAudited, Time: n.now(), Peers: peers, Private: []statement.Private{{Field: "person", Value: []byte(auditor)}}})
		return err
	})
	if err != nil {
		return err
	}
	file := func(path string, content []byte) error {
		for part := range slices.Chunk(content, limit.Chunk) {
			if err := send(path, part, false); err != nil {
				return err
			}
		}
		return send(path, nil, true)
	}
	if err := file(audit.CheckpointFile, newest.Note); err != nil {
		return err
	}
	return audit.Tiles(ctx, n.DB, newest.Size, file)
}

// newestCosigned gives the newest checkpoint that a quorum has co-signed, and waits a little for the first.
func (n *node) newestCosigned(ctx context.Context) (c store.Cosigned, err error) {
	err = n.DB.View(ctx, func(v *store.View) (err error) { c, err = v.NewestCosigned(); return err })
	if errors.Is(err, store.ErrNotFound) {
		return n.cosignedFor(ctx, 0, cosignWait)
	}
	return c, err
}
