package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entente.example/internal/limit"
	"entente.example/internal/statement"
)

var update = flag.Bool("update", false, "write testdata anew")

var june = time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)

// begun is a report of alpha on June 2027, made on the second of July.
func begun(persons bool) *Maker {
	hash := statement.HashBytes([]byte("a")).String()
	return New(Report{Member: "alpha", Alliance: "north-sea", Founding: hash, Made: june.AddDate(0, 1, 1), From: june, To: june.AddDate(0, 1, 0), Persons: persons,
		Agreements: []Agreement{{Name: "harbour-watch", Version: 1, Hash: hash, Parties: []string{"alpha", "bravo"}, Purposes: []string{"incident-response"}, Ceiling: "TLP:AMBER",
			RetainDays: 90, NotBefore: june.AddDate(-1, 0, 0), NotAfter: june.AddDate(1, 0, 0), SignedBy: []string{"alpha/statement+01020304", "bravo/statement+05060708"}, Prose: 29}},
		Members: []Member{{Name: "alpha", Standing: "good", Jurisdiction: "NL", Party: true, Card: hash}, {Name: "bravo", Standing: "good", Party: true, Card: hash}},
		Log:     Log{Origin: "alpha/log/1", Size: 4711, Root: "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", Checkpoint: "alpha/log/1\n4711\n…\n"}})
}

// document is the nth document of a member, created on a day of June.
func document(n int, from string, onDay int) *Subject {
	created := june.AddDate(0, 0, onDay-1).Add(9 * time.Hour)
	return &Subject{Manifest: statement.HashBytes(fmt.Append(nil, n)), ID: fmt.Sprintf("01K7XQ3W0V6N2T9R4M5B%06d", n), From: from, Version: 1, Label: "TLP:AMBER", Purpose: "incident-response",
		Created: created, DeliverBy: created.AddDate(0, 0, 7), RetainUntil: created.AddDate(0, 0, 10), Size: 2199023, ReleasedBy: "alice"}
}

// leaf is a leaf about a document, so long after it was created.
func leaf(kind statement.EventKind, s *Subject, after time.Duration, peers ...string) statement.Leaf {
	return statement.Leaf{Version: 1, Kind: kind, Time: s.Created.Add(after), ID: s.ID, Manifest: &s.Manifest, Peers: peers}
}

// everything makes a report in which every class of exceptions occurs once, except overdue-retention and late, which occur twice.
func everything(t *testing.T, persons bool) *Report {
	t.Helper()
	m := begun(persons)
	index := int64(40)
	add := func(e Event) {
		t.Helper()
		e.Index = index
		index++
		if err := m.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	const week = 7 * 24 * time.Hour
	good, bad, returned, expired, waiting := document(1, "alpha", 1), document(2, "alpha", 2), document(3, "alpha", 3), document(4, "alpha", 4), document(5, "alpha", 5)
	bad.Label, bad.Breach = "TLP:RED", "label TLP:RED is not at or under TLP:AMBER"
	add(Event{Leaf: leaf(statement.EventReleased, good, 0, "bravo", "charlie"), Subject: good, Person: "alice"})
	add(Event{Leaf: leaf(statement.EventDelivered, good, time.Minute, "bravo"), Subject: good})
	add(Event{Leaf: leaf(statement.EventConfirmed, good, time.Hour, "bravo"), Subject: good, Receipt: statement.Opened})
	add(Event{Leaf: leaf(statement.EventReleased, bad, 0, "bravo"), Subject: bad})
	add(Event{Leaf: leaf(statement.EventDelivered, bad, 2*week, "bravo"), Subject: bad}) // late
	add(Event{Leaf: leaf(statement.EventReleased, returned, 0, "bravo"), Subject: returned})
	add(Event{Leaf: leaf(statement.EventReturned, returned, time.Minute, "bravo"), Subject: returned, Receipt: statement.Refused, Text: "=HYPERLINK(\"x\")"})
	add(Event{Leaf: leaf(statement.EventReleased, expired, 0, "bravo"), Subject: expired})
	add(Event{Leaf: leaf(statement.EventExpired, expired, week, "bravo"), Subject: expired})
	add(Event{Leaf: leaf(statement.EventReleased, waiting, 0, "bravo"), Subject: waiting})
	wanted := document(6, "alpha", 6)
	denied := leaf(statement.EventDenied, wanted, 0, "bravo")
	wanted.Manifest, denied.Manifest, denied.Stage, denied.Rules = statement.Hash{}, nil, "release", []string{"base/role-releaser"}
	add(Event{Leaf: denied, Subject: wanted, Person: "carol", Text: "rule role-releaser"})
	in, late, refused := document(7, "bravo", 7), document(8, "bravo", 8), document(9, "bravo", 9)
	add(Event{Leaf: leaf(statement.EventReceived, in, 0, "bravo"), Subject: in})
	add(Event{Leaf: leaf(statement.EventUndecryptable, in, time.Hour, "bravo"), Subject: in, Person: "carol", Text: "its commitment does not fit"})
	add(Event{Leaf: leaf(statement.EventReceived, late, 0, "bravo"), Subject: late})
	add(Event{Leaf: leaf(statement.EventOpened, late, 2*week, "bravo"), Subject: late, Person: "carol"})
	add(Event{Leaf: leaf(statement.EventRefused, refused, 0, "bravo"), Subject: refused, Text: "label TLP:BLACK is not in the label scheme"})
	add(Event{Leaf: statement.Leaf{Kind: statement.EventRejected, Time: june.AddDate(0, 0, 20), Peers: []string{"bravo"}}, Text: "no manifest"})
	add(Event{Leaf: statement.Leaf{Kind: statement.EventRejected, Time: june.AddDate(0, 0, 20), Peers: []string{"delta"}}, Text: "of no party"})
	for _, outside := range []time.Time{june.Add(-time.Second), june.AddDate(0, 1, 0)} {
		add(Event{Leaf: statement.Leaf{Kind: statement.EventReleased, Time: outside, Peers: []string{"bravo"}}, Subject: good})
	}
	m.State(*good, "bravo", "opened", false)
	m.State(*good, "charlie", "queued", false)
	m.State(*bad, "bravo", "delivered", false)
	m.State(*returned, "bravo", "refused", false)
	m.State(*expired, "bravo", "expired", false)
	m.State(*waiting, "bravo", "delivering", false)
	m.State(*in, "alpha", "undecryptable", true)
	m.State(*late, "alpha", "opened", true)
	m.State(*refused, "alpha", "refused", false)
	return m.Report()
}

// The JSON and the CSV of a report are compared with files: both are for programs that other people wrote.
func TestGolden(t *testing.T) {
	t.Parallel()
	r := everything(t, true)
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := r.CSV(&table); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{"report.json": append(b, '\n'), "report.csv": table.Bytes()} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if want, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs (-update writes it anew): %v\n%s", name, err, got)
		}
	}
}

func TestExceptions(t *testing.T) {
	t.Parallel()
	r := everything(t, false)
	counts := map[ClassName]int64{}
	for _, c := range r.Classes {
		counts[c.Class] = c.Count
	}
	for _, c := range classes {
		want := int64(1)
		if c.Class == Late || c.Class == Overdue || c.Class == Unconfirmed {
			want = 2
		}
		if counts[c.Class] != want {
			t.Errorf("%s: %d", c.Class, counts[c.Class])
		}
	}
	if r.Totals != (Counts{Released: 6, Received: 2, Delivered: 2, Opened: 2, Exceptions: 13}) || r.ExchangesTotal != 9 {
		t.Errorf("%+v, %d exchanges", r.Totals, r.ExchangesTotal)
	}
	page := string(html(t, r))
	for _, name := range []string{"alice", "carol"} {
		if strings.Contains(page, name) {
			t.Errorf("the page names %s", name)
		}
		if !strings.Contains(string(html(t, everything(t, true))), name) {
			t.Errorf("the page with persons does not name %s", name)
		}
	}
	if at := strings.Index(page, "1. Exceptions"); at < 0 || at > strings.Index(page, "2. How much") {
		t.Error("exceptions do not come first")
	}
}

func html(t *testing.T, r *Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.HTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var tags = regexp.MustCompile(`<[^>]*>`)

// Whatever stands in a report, the page has the same tags with the same attributes: no text becomes anything else. And among
// these there is nothing that runs or loads something.
func TestHostileText(t *testing.T) {
	t.Parallel()
	tagsOf := func(text string) []string {
		r := everything(t, true)
		replaceAll(reflect.ValueOf(r).Elem(), text)
		page := string(html(t, r))
		if !strings.Contains(page, "1. Exceptions") {
			t.Fatal("that is no report")
		}
		// Between the parts of a reference stands a place to break the line, and a text may have any number of parts.
		return slices.DeleteFunc(tags.FindAllString(page, -1), func(tag string) bool { return tag == "<wbr>" })
	}
	want := tagsOf("harmless")
	for _, text := range []string{
		`<script>alert(1)</script>`, `"><script>alert(1)</script>`, `'><img src=x onerror=alert(1)>`, `</style><script>alert(1)</script>`, `</title><script>`,
		`</svg><svg onload=alert(1)>`, `]]><script>`, `<!--`, `-->`, `javascript:alert(1)`, `{{.Member}}`, "\x00<b>", "\xff\xfe<b>", "&lt;b&gt;<b>", "`${alert(1)}`", `<style>*{display:none}</style>`,
	} {
		if got := tagsOf(text); !slices.Equal(got, want) {
			t.Errorf("%q changes the page's tags", text)
		}
	}
	for _, tag := range want {
		if regexp.MustCompile(`(?i)^<(script|img|link|iframe|object|embed|a|form|base|use|image|foreignobject)\b|\s(on\w+|src|href|style)=`).MatchString(tag) {
			t.Errorf("the page has the tag %s", tag)
		}
	}
}

// replaceAll sets every string in a value, however deep.
func replaceAll(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		if v.CanSet() {
			v.SetString(text)
		}
	case reflect.Struct:
		if _, isTime := v.Interface().(time.Time); isTime {
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() && v.Type().Field(i).Name != "Period" {
				replaceAll(v.Field(i), text)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			replaceAll(v.Index(i), text)
		}
	}
}

// The policy in the page admits exactly the style sheet that is in it.
func TestPolicyOfThePage(t *testing.T) {
	t.Parallel()
	page := string(html(t, everything(t, false)))
	_, rest, _ := strings.Cut(page, "<style>")
	sheet, _, found := strings.Cut(rest, "</style>")
	if !found || sheet != style || strings.Contains(sheet, "url(") || strings.Contains(sheet, "@import") {
		t.Error("the style sheet is not the one that was embedded, or loads something")
	}
	sum := sha256.Sum256([]byte(sheet))
	if want := `content="default-src 'none'; style-src 'sha256-` + base64.StdEncoding.EncodeToString(sum[:]) + `'; base-uri 'none'; form-action 'none'"`; !strings.Contains(page, want) {
		t.Errorf("the page does not have the policy %s", want)
	}
}

// A cell never begins as a formula, and what was in it can be read back, but for carriage returns: RFC 4180 has them at the ends
// of lines, and encoding/csv drops them elsewhere.
func TestCSVFormulas(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t=1", "\r=1": "'=1", "\n=1": "'\n=1",
		"a=1": "a=1", `"quoted", too`: `"quoted", too`, "two\nlines": "two\nlines", "": ""} {
		r := everything(t, true)
		replaceAll(reflect.ValueOf(r).Elem(), text)
		var b bytes.Buffer
		if err := r.CSV(&b); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil || len(rows) != 1+len(r.Exceptions)+len(r.Listed) {
			t.Fatalf("%q: %d rows, %v", text, len(rows), err)
		}
		at := slices.Index(rows[0], "label")
		if got := rows[1][at]; got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
		for _, row := range rows[1:] {
			for _, cell := range row {
				if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
					t.Errorf("%q: a cell begins as a formula: %q", text, cell)
				}
			}
		}
	}
}

func TestEmptyPeriod(t *testing.T) {
	t.Parallel()
	r := begun(false).Report()
	page := string(html(t, r))
	for _, want := range []string{"None. Nothing was denied", "Nothing happened under this agreement", "There is nothing to draw", "None in this period"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if b, err := json.Marshal(r); err != nil || bytes.Contains(b, []byte("null")) {
		t.Errorf("%v: %s", err, b)
	}
	var table bytes.Buffer
	if err := r.CSV(&table); err != nil || strings.Count(table.String(), "\n") != 1 {
		t.Errorf("%v: %s", err, &table)
	}
}

// What is beyond the bounds is counted. A flood of one class leaves the others their room.
func TestBounds(t *testing.T) {
	t.Parallel()
	m := begun(false)
	const flood = limit.ReportExceptions + 300
	for i := range flood {
		s := document(i, "bravo", 3)
		s.Label, s.Purpose = fmt.Sprint("L", i), fmt.Sprint("p", i)
		if err := m.Add(Event{Leaf: leaf(statement.EventRefused, s, 0, "bravo"), Subject: s}); err != nil {
			t.Fatal(err)
		}
	}
	one := document(flood, "bravo", 4)
	for i := range limit.ReportLeaves + 5 {
		kind := statement.EventReopened
		if i == 0 {
			kind = statement.EventReceived
		}
		if err := m.Add(Event{Leaf: leaf(kind, one, time.Duration(i)*time.Second, "bravo"), Subject: one}); err != nil {
			t.Fatal(err)
		}
	}
	m.State(*one, "alpha", "opened", true)
	m.Unplaced(june)
	m.Unplaced(june.AddDate(0, 1, 0))
	r := m.Report()
	if len(r.Exceptions) != limit.ReportExceptions+1 || r.Totals.Exceptions != flood+1 || r.Exceptions[limit.ReportExceptions].Class != Overdue || r.Unplaced != 1 {
		t.Errorf("%d of %d exceptions, %d unplaced", len(r.Exceptions), r.Totals.Exceptions, r.Unplaced)
	}
	if len(r.Labels) != limit.ReportRows+1 || len(r.Purposes) != limit.ReportRows+1 || r.Labels[limit.ReportRows].Exceptions+limit.ReportRows != flood+1 {
		t.Errorf("%d labels, %d purposes", len(r.Labels), len(r.Purposes))
	}
	last := r.Listed[len(r.Listed)-1]
	if len(last.Leaves) != limit.ReportLeaves || last.LeavesMore != 5 {
		t.Errorf("%d leaves and %d more", len(last.Leaves), last.LeavesMore)
	}
	if page := string(html(t, r)); !strings.Contains(page, "<b>300 more</b> were counted") || !strings.Contains(page, "and 5 more") || !strings.Contains(page, "could not be attributed") {
		t.Error("the page does not say what it leaves out")
	}
}

// The picture stays readable: at most so many groups of bars, whatever the period, and every fact in one of them.
func TestChart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		days        int
		unit, first string
	}{{1, "day", "2027-06-01"}, {62, "day", "2027-06-01"}, {63, "week", "2027-05-31"}, {400, "week", "2027-05-31"}, {1000, "month", "2027-06"}, {limit.ReportDays, "quarter", "2027-Q2"}} {
		var days []Day
		for i := range c.days {
			days = append(days, Day{Date: june.AddDate(0, 0, i).Format(time.DateOnly), Released: 1, Exceptions: int64(i % 2)})
		}
		list, unit := bins(days)
		var released, exceptions int64
		for _, b := range list {
			released += b.day.Released
			exceptions += b.day.Exceptions
		}
		if unit != c.unit || list[0].label != c.first || len(list) > mostBins || released != int64(c.days) || exceptions != int64(c.days/2) {
			t.Errorf("%d days: %d groups by %s from %s, %d released, %d exceptions", c.days, len(list), unit, list[0].label, released, exceptions)
		}
		drawn := draw(days)
		if len(drawn.Ticks) > 7 || len(drawn.Marks) > mostMarks || len(drawn.Marks) == 0 {
			t.Errorf("%d days: %d ticks, %d marks", c.days, len(drawn.Ticks), len(drawn.Marks))
		}
		for _, b := range drawn.Bars {
			if b.X < plotLeft || b.X+b.W > plotRight || b.Y < plotTop || b.Y+b.H > plotBottom+0.1 || b.H <= 0 || b.W <= 0 {
				t.Errorf("%d days: a bar is outside the picture: %+v", c.days, b)
			}
		}
	}
	for most, want := range map[int64]int64{1: 1, 5: 1, 6: 2, 10: 2, 11: 5, 25: 5, 26: 10, 999: 200, 1 << 40: 500_000_000_000} {
		if got := tickStep(most); got != want {
			t.Errorf("steps for %d are %d", most, got)
		}
	}
}

func TestPeriodInWords(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]*Report{
		"2027-06-01": {From: june, To: june.AddDate(0, 0, 1)},
		"2027-06-01 to 2027-06-30, both days included":        {From: june, To: june.AddDate(0, 1, 0)},
		"2027-06-01 00:00:00Z to before 2027-06-01 12:00:00Z": {From: june, To: june.Add(12 * time.Hour)},
	} {
		if got := period(r); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
