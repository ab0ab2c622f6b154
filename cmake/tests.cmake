# Tests: every tests/<layer>/test_*.c is an executable and a ctest test, every test_*.sh a test.
# Exit status 77 means skipped. Labels are the layers: ctest -L kernels.

if(RK_CORE_ONLY)
  file(GLOB TEST_SOURCES CONFIGURE_DEPENDS tests/base/test_*.c tests/kernels/test_*.c)
  set(TEST_SCRIPTS)
else()
  file(GLOB TEST_SOURCES CONFIGURE_DEPENDS tests/*/test_*.c)
  file(GLOB TEST_SCRIPTS CONFIGURE_DEPENDS tests/*/test_*.sh)
endif()
if(NOT RK_CORE_ONLY AND NOT CMOCKA_FOUND)
  message(STATUS "cmocka not found (libcmocka-dev): the C tests are left out")
  set(TEST_SOURCES)
endif()

# Under the thread sanitizer only what starts threads is of interest.
if(RK_SANITIZE STREQUAL "thread")
  list(FILTER TEST_SOURCES INCLUDE REGEX
    "/tests/(infer|train|tune|compress)/[^/]*$|/test_[^/]*(pool|gemm|engine|crowd|row_cache|corpus)[^/]*$")
  set(TEST_SCRIPTS)
endif()

# Tests that start the program or read files of the source tree are told where both are.
set(RK_PROGRAM ${CMAKE_BINARY_DIR}/rwkv)
set(RK_TEST_ENVIRONMENT RK_SOURCE_DIR=${CMAKE_SOURCE_DIR} RK_BINARY_DIR=${CMAKE_BINARY_DIR}
  RK_PROGRAM=${RK_PROGRAM} RK_CC=${CMAKE_C_COMPILER} RK_SANITIZE=${RK_SANITIZE})

# Instrumented, some tests take minutes.
set(RK_TEST_TIMEOUT 300)
if(RK_COVERAGE OR RK_SANITIZE)
  set(RK_TEST_TIMEOUT 1500)
endif()

# What a user links with librk.a of a build that counts has to bring the counters' library, whose
# symbols librk.so exports.
if(RK_COVERAGE)
  list(APPEND RK_TEST_ENVIRONMENT "RK_CC=${CMAKE_C_COMPILER} --coverage")
  list(FILTER TEST_SCRIPTS EXCLUDE REGEX "/test_symbols[.]sh$")
endif()

function(rk_label_test name file)
  get_filename_component(folder ${file} DIRECTORY)
  get_filename_component(layer ${folder} NAME)
  set_tests_properties(${name} PROPERTIES LABELS ${layer} SKIP_RETURN_CODE 77 TIMEOUT ${RK_TEST_TIMEOUT}
    ENVIRONMENT "${RK_TEST_ENVIRONMENT}")
endfunction()

foreach(file IN LISTS TEST_SOURCES)
  get_filename_component(name ${file} NAME_WE)
  add_executable(${name} ${file})
  target_include_directories(${name} PRIVATE src tests)
  target_compile_definitions(${name} PRIVATE RK_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    RK_PROGRAM="${RK_PROGRAM}")
  if(RK_CORE_ONLY)
    target_include_directories(${name} PRIVATE tests/cross) # a stand-in for cmocka.h
    target_link_libraries(${name} PRIVATE rk_static)
  else()
    target_link_libraries(${name} PRIVATE rk_selftest PkgConfig::CMOCKA)
  endif()
  if(RK_COVERAGE) # the library is counted, not its tests, which may be fast
    target_compile_options(${name} PRIVATE -O2 -fno-profile-arcs -fno-test-coverage)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  rk_label_test(${name} ${file})
endforeach()

foreach(file IN LISTS TEST_SCRIPTS)
  get_filename_component(name ${file} NAME_WE)
  add_test(NAME ${name} COMMAND sh ${file})
  rk_label_test(${name} ${file})
endforeach()

# The emulated paths are kernels, which coverage leaves out.
if(EXISTS ${CMAKE_SOURCE_DIR}/cmake/simde.cmake AND NOT RK_COVERAGE)
  include(cmake/simde.cmake)
endif()
