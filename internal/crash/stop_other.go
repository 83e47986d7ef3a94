//go:build torture && !unix

package crash

import "errors"

func stop() error { return errors.ErrUnsupported }
