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
    "/tests/(infer|train)/[^/]*$|/test_[^/]*(pool|gemm|engine)[^/]*$")
  set(TEST_SCRIPTS)
endif()

# Tests that start the program or read files of the source tree are told where both are.
set(RK_PROGRAM ${CMAKE_BINARY_DIR}/rwkv)
set(RK_TEST_ENVIRONMENT RK_SOURCE_DIR=${CMAKE_SOURCE_DIR} RK_BINARY_DIR=${CMAKE_BINARY_DIR}
  RK_PROGRAM=${RK_PROGRAM} RK_CC=${CMAKE_C_COMPILER} RK_SANITIZE=${RK_SANITIZE})

function(rk_label_test name file)
  get_filename_component(folder ${file} DIRECTORY)
  get_filename_component(layer ${folder} NAME)
  set_tests_properties(${name} PROPERTIES LABELS ${layer} SKIP_RETURN_CODE 77 TIMEOUT 300
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
  add_test(NAME ${name} COMMAND ${name})
  rk_label_test(${name} ${file})
endforeach()

foreach(file IN LISTS TEST_SCRIPTS)
  get_filename_component(name ${file} NAME_WE)
  add_test(NAME ${name} COMMAND sh ${file})
  rk_label_test(${name} ${file})
endforeach()

if(EXISTS ${CMAKE_SOURCE_DIR}/cmake/simde.cmake)
  include(cmake/simde.cmake)
endif()
