// Package metrics counts what a node does, in the form that Prometheus reads.
//
// Every label is ours: a step, a direction, a listener, a rule of the base policy, a method that is in our tables, or a member
// that the charter names. Nothing that a caller writes becomes one, so the number of series is bounded by the alliance, and nobody
// can fill our memory by inventing names. For the same reason, and because it is nobody's business who reads the figures, there
// is no person, exchange or file in them.
//
// What happens is counted in memory and begins at zero with each start, as Prometheus expects. What is there (the outbox, the
// log, what is stored) is read from the database when somebody asks, see State.
package metrics

import (
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// Set is what one node counts. It may be used concurrently; counting takes some tens of nanoseconds.
type Set struct {
	// Calls is for package rpc.
	Calls *Calls

	registry *prometheus.Registry

	steps, bytes, refusals           *prometheus.CounterVec
	attempts                         *prometheus.CounterVec
	commit, blobSync, headSync       prometheus.Histogram
	checkedBytes, checkedRows, round prometheus.Counter
}

// Calls is what the servers of package rpc count. A nil *Calls counts nothing.
type Calls struct {
	*grpcprom.ServerMetrics
	open *prometheus.GaugeVec
}

// What a listener's gauges count.
const (
	Connections = "connections"
	Streams     = "calls" // under way, unary ones too
)

// Open counts what is open on a listener ("peer" or "node"). Without calls it gives a gauge that nobody reads.
func (c *Calls) Open(listener, what string) prometheus.Gauge {
	if c == nil {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "unread"})
	}
	return c.open.WithLabelValues(listener, what)
}

// durations are the bounds of the histograms in seconds: from a commit on a fast disk to one that is about to fail.
var durations = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// New makes a set. read gives the node's state when somebody asks for it, and now is the clock by which ages are told.
func New(now func() time.Time, read func() (State, error)) *Set {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "entente", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "entente", Name: name, Help: help, Buckets: durations})
	}
	checked := counter("checked_total", "What the check in the background has gone through since the start: rows, and bytes of blobs.", "what")
	rounds := counter("check_rounds_total", "Times that the check in the background went through everything since the start.")
	s := &Set{
		Calls: &Calls{
			grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram(grpcprom.WithHistogramBuckets([]float64{.001, .01, .1, 1, 10, 100}))),
			prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "entente", Name: "open", Help: "Connections that are open and calls under way, by listener."}, []string{"listener", "what"}),
		},
		registry:     prometheus.NewRegistry(),
		steps:        counter("exchange_steps_total", "Steps that exchanges made since the start, by the other member.", "step", "peer"),
		bytes:        counter("document_bytes_total", "Bytes of sealed documents that were delivered (out) or received (in) since the start, by the other member.", "direction", "peer"),
		refusals:     counter("refusals_total", "What this node refused since the start, by the set of rules that denied, and by the rule where it is one of the base set.", "set", "rule"),
		attempts:     counter("failed_attempts_total", "Attempts to bring something to another member that failed since the start.", "peer"),
		commit:       histogram("commit_seconds", "How long commits to the database take, until they survive a power cut."),
		blobSync:     histogram("blob_sync_seconds", "How long it takes to make a document durable."),
		headSync:     histogram("head_sync_seconds", "How long it takes to make the head of the log durable."),
		checkedBytes: checked.WithLabelValues("bytes"), checkedRows: checked.WithLabelValues("rows"), round: rounds.WithLabelValues(),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "entente", Name: "build_info", Help: "1; the labels tell which program runs.", ConstLabels: buildLabels()})
	build.Set(1)
	s.registry.MustRegister(s.Calls.ServerMetrics, s.Calls.open, s.steps, s.bytes, s.refusals, s.attempts, s.commit, s.blobSync, s.headSync, checked, rounds, build,
		&collector{now: now, read: read}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return s
}

func buildLabels() prometheus.Labels {
	labels := prometheus.Labels{"version": "unknown", "go": "unknown"}
	if b, ok := debug.ReadBuildInfo(); ok {
		labels["version"], labels["go"] = b.Main.Version, b.GoVersion
	}
	return labels
}

// Step counts a step of an exchange with a member of the charter.
func (s *Set) Step(step, peer string) { s.steps.WithLabelValues(step, peer).Inc() }

// Out counts the bytes of a document that was delivered to a member.
func (s *Set) Out(peer string, bytes int64) { s.bytes.WithLabelValues("out", peer).Add(float64(bytes)) }

// In counts the bytes of a document that was received from a member.
func (s *Set) In(peer string, bytes int64) { s.bytes.WithLabelValues("in", peer).Add(float64(bytes)) }

// Refused counts a rule that denied. The names of rules that people choose are not counted, only their set.
func (s *Set) Refused(set, rule string) {
	if set != "base" {
		rule = ""
	}
	s.refusals.WithLabelValues(set, rule).Inc()
}

// FailedAttempt counts an attempt that failed.
func (s *Set) FailedAttempt(peer string) { s.attempts.WithLabelValues(peer).Inc() }

// Committed counts one commit of the database.
func (s *Set) Committed(took time.Duration) { s.commit.Observe(took.Seconds()) }

// BlobSynced counts one sync of a document.
func (s *Set) BlobSynced(took time.Duration) { s.blobSync.Observe(took.Seconds()) }

// HeadSynced counts one sync of the head.
func (s *Set) HeadSynced(took time.Duration) { s.headSync.Observe(took.Seconds()) }

// Checked counts what the check in the background went through.
func (s *Set) Checked(rows, bytes int64) {
	s.checkedRows.Add(float64(rows))
	s.checkedBytes.Add(float64(bytes))
}

// RoundEnded counts a check that went through everything.
func (s *Set) RoundEnded() { s.round.Inc() }

// ContentType is that of what Write writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Write writes all figures as Prometheus reads them, text format 0.0.4.
func (s *Set) Write(w io.Writer) error {
	families, err := s.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	e := expfmt.NewEncoder(w, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	return nil
}

// State is what there is at one moment.
type State struct {
	Outbox     []Waiting
	Stored     []Stored
	PeerBytes  int64 // that may be kept for any one peer
	Leaves     int64
	Head       Mark // the newest that this log has made durable
	Checkpoint Mark // the newest that it has signed
	Cosigned   Mark // the newest that a quorum has co-signed
	Damaged    int64
	Checked    time.Time // when the check in the background last went through everything; zero if it has not
}

// Waiting is what waits in the outbox for one peer.
type Waiting struct {
	Peer   string
	Items  int64
	Oldest time.Time // when the oldest document of it was signed; zero if none waits
}

// Stored is what is kept of one peer's documents, as its quota counts.
type Stored struct {
	Peer  string
	Bytes int64
}

// Mark is how far something of the log has come, and since when.
type Mark struct {
	Size int64
	At   time.Time // zero if there is none
}

// collector reads the state when somebody asks.
type collector struct {
	now  func() time.Time
	read func() (State, error)

	mu    sync.Mutex
	state State
	err   error
	next  time.Time // when the state is read again
}

// share bounds the time that reading the state may take of all time: one part in so many. With a million documents a reading takes
// a second, and then no scrape, however many there are, causes another for a while.
const share = 20

// leastAge is how old a state may be in any case.
const leastAge = time.Second

func (c *collector) newest() (State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := time.Now()
	if began.Before(c.next) {
		return c.state, c.err
	}
	c.state, c.err = c.read()
	c.next = time.Now().Add(max(leastAge, share*time.Since(began)))
	return c.state, c.err
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("entente_"+name, help, labels, nil)
}

var (
	descReadable  = desc("state_readable", "1 if what is read from the home at each scrape could be read, 0 if not; then the others of that kind are missing.")
	descItems     = desc("outbox_items", "What waits to be brought to another member.", "peer")
	descOldest    = desc("outbox_oldest_seconds", "How long ago the oldest document that waits for another member was signed; 0 if none waits.", "peer")
	descStored    = desc("stored_bytes", "What is kept of another member's documents, as its quota counts.", "peer")
	descPeerBytes = desc("stored_bytes_limit", "How much may be kept for any one member.")
	descLeaves    = desc("log_leaves", "Leaves of this member's log.")
	descSize      = desc("log_mark_leaves", "Leaves that the head, the checkpoint and the newest co-signed checkpoint cover.", "mark")
	descAge       = desc("log_mark_age_seconds", "How long ago the head was made durable, the checkpoint signed, and the newest co-signed checkpoint joined.", "mark")
	descDamaged   = desc("damaged_objects", "What the check of the home has found damaged and keeps apart.")
	descChecked   = desc("check_age_seconds", "How long ago the check in the background last went through everything; missing if it has not yet.")
)

// Describe is for the registry.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReadable, descItems, descOldest, descStored, descPeerBytes, descLeaves, descSize, descAge, descDamaged, descChecked} {
		ch <- d
	}
}

// Collect is for the registry.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	now := c.now()
	since := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return max(0, now.Sub(t).Seconds())
	}
	s, err := c.newest()
	if err != nil {
		gauge(descReadable, 0)
		return
	}
	gauge(descReadable, 1)
	for _, w := range s.Outbox {
		gauge(descItems, float64(w.Items), w.Peer)
		gauge(descOldest, since(w.Oldest), w.Peer)
	}
	for _, p := range s.Stored {
		gauge(descStored, float64(p.Bytes), p.Peer)
	}
	gauge(descPeerBytes, float64(s.PeerBytes))
	gauge(descLeaves, float64(s.Leaves))
	for name, m := range map[string]Mark{"head": s.Head, "checkpoint": s.Checkpoint, "cosigned": s.Cosigned} {
		gauge(descSize, float64(m.Size), name)
		if !m.At.IsZero() {
			gauge(descAge, since(m.At), name)
		}
	}
	gauge(descDamaged, float64(s.Damaged))
	if !s.Checked.IsZero() {
		gauge(descChecked, since(s.Checked))
	}
}
