#include "harness.h"
const struct test record_tests[] = { { } };
