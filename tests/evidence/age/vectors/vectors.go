// Package vectors makes the public age test vectors a dependency of dockd's tests.
package vectors

import _ "c2sp.org/CCTV/age"
