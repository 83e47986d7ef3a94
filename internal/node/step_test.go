package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/fault"
	"entente.example/internal/lab"
	"entente.example/internal/limit"
	"entente.example/internal/rpc"
	"entente.example/internal/statement"
)

// steps gives the lines about exchanges, each as "MEMBER STEP EXCHANGE PEER" and then what else it says but for times and sizes.
func (l *lockedBuffer) steps(t *testing.T) (list []string) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if m["msg"] != "exchange" {
			continue
		}
		if bytes, _ := m["bytes"].(float64); m["level"] != "INFO" || bytes <= 0 && m["stage"] != "release" {
			t.Errorf("a step without its size, or not at level info: %s", line)
		}
		text := fmt.Sprint(m["member"], " ", m["step"], " ", m["exchange"], " ", m["peer"])
		for _, key := range []string{"time", "level", "msg", "bytes", "took", "member", "step", "exchange", "peer"} {
			delete(m, key)
		}
		if len(m) > 0 {
			text += fmt.Sprint(" ", m)
		}
		list = append(list, text)
	}
	slices.Sort(list) // two nodes write at the same time
	return list
}

// scrape gives the metrics of a member's node.
func (w *world) scrape(m string) string {
	w.t.Helper()
	_, address := w.Addresses(m)
	k := w.keys(m)
	text, err := rpc.Scrape(w.t.Context(), address, rpc.Config{Self: m, Cert: k.Node, CA: k.CA, Now: time.Now})
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// has checks that the metrics have these lines.
func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains("\n"+text, "\n"+want+"\n") {
			name, _, _ := strings.Cut(want, "{")
			var near []string
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, name) {
					near = append(near, line)
				}
			}
			t.Errorf("the metrics lack %q; they have %q", want, near)
		}
	}
}

// TestEachStepIsOneLine runs exchanges to each end, and wants exactly the lines and the figures that docs/operating.md promises, with nothing
// in them of what is nobody's business.
func TestEachStepIsOneLine(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	w := foundWith(t, lab.Options{Members: []string{"alpha", "bravo"}, Log: slog.New(slog.NewJSONHandler(&log, nil))})
	w.start("alpha", "bravo")
	sub := submission("bravo")
	sub.FileName = "canary-name.txt"
	good := w.send("alpha", sub, bytes.Repeat([]byte("canary-content"), limit.PayloadRow/8))[0] // a blob
	w.await("alpha", good, "delivered")
	for range 2 {
		if _, err := open(t.Context(), w.person("bravo"), good); err != nil {
			t.Fatal(err)
		}
	}
	awaitLine(t, &log, "alpha confirmed "+good+" bravo map[receipt:opened]")

	high := submission("bravo")
	high.Label = "TLP:RED"
	_, err := w.person("alpha").Send(t.Context(), high, strings.NewReader("canary-content"))
	if fault.KindOf(err) != fault.Refused {
		t.Fatalf("a label above the ceiling: %v", err)
	}

	// What bravo refuses: alpha's own node would never send it.
	d := w.document("alpha", []string{"bravo"}, "canary-content", func(m *statement.Manifest) { m.Purpose = "tourism" })
	if raw, err := w.peer("alpha", "bravo").patiently(d); err != nil || !strings.Contains(string(raw), "purpose-listed") {
		t.Fatalf("the answer is %q, %v", raw, err)
	}
	bad := "alpha/" + d.m.ID + "/bravo"

	want := []string{
		"alpha confirmed " + good + " bravo map[receipt:opened]",
		"alpha delivered " + good + " bravo",
		"alpha delivering " + good + " bravo map[attempt:1]",
		"alpha denied alpha/" + high.GetId() + "/bravo bravo map[rules:[base/label-ceiling] stage:release]",
		"alpha released " + good + " bravo",
		"bravo opened " + good + " alpha",
		"bravo received " + good + " alpha",
		"bravo refused " + bad + " alpha map[rules:[base/purpose-listed]]",
		"bravo reopened " + good + " alpha",
	}
	if got := log.steps(t); !slices.Equal(got, want) {
		t.Errorf("the steps are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	alpha, bravo := w.scrape("alpha"), w.scrape("bravo")
	has(t, alpha, `entente_exchange_steps_total{peer="bravo",step="released"} 1`, `entente_exchange_steps_total{peer="bravo",step="delivered"} 1`,
		`entente_exchange_steps_total{peer="bravo",step="confirmed"} 1`, `entente_refusals_total{rule="label-ceiling",set="base"} 1`,
		`entente_state_readable 1`, `entente_damaged_objects 0`, `grpc_server_handled_total{grpc_code="OK",grpc_method="Send",grpc_service="entente.v1.NodeService",grpc_type="client_stream"} 1`)
	has(t, bravo, `entente_exchange_steps_total{peer="alpha",step="received"} 1`, `entente_exchange_steps_total{peer="alpha",step="opened"} 1`,
		`entente_refusals_total{rule="purpose-listed",set="base"} 1`)
	for _, name := range []string{"entente_commit_seconds_count", "entente_blob_sync_seconds_count", "entente_head_sync_seconds_count", "entente_log_leaves",
		`entente_log_mark_leaves{mark="head"}`, `entente_log_mark_leaves{mark="checkpoint"}`, `entente_stored_bytes{peer="alpha"}`, `entente_document_bytes_total{direction="in",peer="alpha"}`} {
		if !strings.Contains(bravo, "\n"+name+" ") || strings.Contains(bravo, "\n"+name+" 0\n") {
			t.Errorf("bravo's %s is missing or zero", name)
		}
	}
	for _, text := range []string{log.String(), alpha, bravo} {
		if strings.Contains(text, "canary") {
			t.Error("a file name or content stands in the log or in the metrics")
		}
	}
	for _, text := range []string{alpha, bravo} {
		if strings.Contains(text, "alice") || strings.Contains(text, sub.GetId()) {
			t.Error("a person or an exchange stands in the metrics")
		}
	}

	// What alpha gives up while bravo is away. How often it tried before is left to chance.
	w.stop("bravo")
	late := w.send("alpha", submission("bravo"), []byte("canary-content"))[0]
	if _, err := w.cancel("alpha", late, "canary-reason"); err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(log.steps(t), func(line string) bool {
		return !strings.Contains(line, late) || strings.HasPrefix(line, "alpha delivering ")
	})
	if want := []string{"alpha cancelled " + late + " bravo", "alpha released " + late + " bravo"}; !slices.Equal(got, want) {
		t.Errorf("the steps of what was cancelled are %q, want %q", got, want)
	}
	if strings.Contains(log.String(), "canary") {
		t.Error("why it was cancelled stands in the log of the process")
	}
	has(t, w.scrape("alpha"), `entente_exchange_steps_total{peer="bravo",step="cancelled"} 1`)
}

// TestWhatWaitsIsMeasured: a peer that is away, and what waits for it.
func TestWhatWaitsIsMeasured(t *testing.T) {
	t.Parallel()
	w := found(t, "alpha", "bravo")
	w.start("alpha")
	for range 3 {
		w.send("alpha", submission("bravo"), []byte("x"))
	}
	has(t, w.scrape("alpha"), `entente_outbox_items{peer="bravo"} 3`)
	if text := w.scrape("alpha"); !strings.Contains(text, `entente_outbox_oldest_seconds{peer="bravo"} `) {
		t.Error("nothing says how long the oldest document waits")
	}
	w.start("bravo")
}

func awaitLine(t *testing.T, log *lockedBuffer, line string) {
	t.Helper()
	for end := time.Now().Add(patience); !slices.Contains(log.steps(t), line); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log lacks %q; it has\n%s", line, strings.Join(log.steps(t), "\n"))
		}
	}
}
