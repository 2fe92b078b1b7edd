// Empty: all that a kernel needs is there already.
#pragma once
