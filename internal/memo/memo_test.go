package memo

import (
	"errors"
	"testing"
)

func TestGet(t *testing.T) {
	t.Parallel()
	m := Memo[int, int]{Most: 3}
	asked := 0
	square := func(n int) func() (int, error) { return func() (int, error) { asked++; return n * n, nil } }
	for range 2 {
		for n := range 3 {
			if v, err := m.Get(n, square(n)); v != n*n || err != nil {
				t.Errorf("%d: %d, %v", n, v, err)
			}
		}
	}
	if asked != 3 {
		t.Errorf("asked %d times, want once for each of 3", asked)
	}
	for n := range 1000 {
		_, _ = m.Get(n, square(n))
		if len(m.values) > 3 {
			t.Fatalf("it remembers %d values, want at most 3", len(m.values))
		}
	}
	no := errors.New("no")
	if _, err := m.Get(5000, func() (int, error) { return 0, no }); !errors.Is(err, no) {
		t.Error(err)
	}
	if v, err := m.Get(5000, square(2)); v != 4 || err != nil {
		t.Errorf("an error was remembered: %d, %v", v, err)
	}
}
