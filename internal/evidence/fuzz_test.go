package evidence

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzParse looks for a text that reads as two things. Its seeds are small, so that it is fast; FuzzVerify has whole bundles.
func FuzzParse(f *testing.F) {
	head := "-- evidence --\n" + headLine + "\nkind = \"exchange\"\ncharter_sha256 = \"" + strings.Repeat("ab", 32) + "\"\nabout_sha256 = \"" + strings.Repeat("cd", 32) +
		"\"\nrecipient = \"bravo\"\nclaims = [\"released\", \"stored\"]\n"
	for _, parts := range []string{
		"", "-- charter --\nx\n-- amendments/1 --\ny\n-- cards/alpha/1 --\nz\n-- cards/alpha/10 --\nz\n", "-- agreement.base64 --\nLS0gYSAtLQo=\n",
		"-- manifest --\nm\n-- receipts/opened --\no\n-- receipts/stored --\ns\n", "-- leaves/alpha/log/1/7 --\n{}\n-- proofs/alpha/log/1/7 --\np\n",
		"-- opened/alpha/log/1/7/salt --\nsalt " + strings.Repeat("00", 32) + "\nvalue aGVsbG8=\n", "-- fork --\nf\n-- reconciliation --\nr\n",
	} {
		if _, err := Parse([]byte(head + parts)); err != nil {
			f.Fatalf("a seed that is not read: %v\n%s", err, parts)
		}
		f.Add([]byte(head + parts))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := Parse(raw)
		if err != nil {
			return
		}
		again, err := b.Render()
		if err != nil || !bytes.Equal(again, raw) {
			t.Errorf("read and written it is another: %v", err)
		}
		if v := Verify(raw, Options{Charter: b.Charter, Now: now}); v.Valid {
			t.Error("valid, and signed by nobody")
		}
	})
}
