package statement

import "testing"

// What goes with a name is a type that an inner header can hold, and the same on every machine.
func TestMediaType(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"report.pdf": "application/pdf", "REPORT.PDF": "application/pdf", "a.tar.gz": "application/gzip", "warning.txt": "text/plain", ".txt": "text/plain",
		"report": unknownType, "report.": unknownType, "": unknownType, "report.nobody-knows": unknownType, "a.pdf/b": unknownType,
	} {
		if got := MediaType(name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	for ext, kind := range mediaTypes {
		if ext[0] != '.' || MediaType("a"+ext) != kind || !validMediaType(kind) {
			t.Errorf("%s: %s", ext, kind)
		}
	}
}
