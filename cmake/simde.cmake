# The paths of AVX-512 and AVX-VNNI on machines without them: their sources compiled against SIMDe
# (libsimde-dev) and tests/cross/avx512_emulated.h, and the kernel tests run over them. Their names
# say so.
find_path(SIMDE_INCLUDE simde/x86/avx512.h)
if(NOT SIMDE_INCLUDE OR RK_CORE_ONLY OR NOT CMOCKA_FOUND
   OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  message(STATUS "SIMDe not found (libsimde-dev): AVX-512 is tested only on a CPU that has it")
  return()
endif()

# These replace their namesakes in rk_static, which the linker then leaves alone. 512-bit
# arguments without AVX-512 change the calling convention, which is of no interest here.
add_library(rk_emulated OBJECT src/kernels/kernels.c tests/cross/avx512_emulated.c
  src/kernels/dot8.c tests/cross/dot8_avx512vnni_emulated.c tests/cross/dot8_avxvnni_emulated.c)
target_include_directories(rk_emulated PRIVATE include src tests/cross ${SIMDE_INCLUDE})
target_compile_definitions(rk_emulated PRIVATE RK_EMULATE_AVX512)
target_compile_options(rk_emulated PRIVATE -O1 -mavx2 -mfma -mf16c -Wno-psabi)

foreach(name test_simd test_attention test_gemm test_gemv test_dot8 test_sparse test_ranges)
  set(file tests/kernels/${name}.c)
  if(EXISTS ${CMAKE_SOURCE_DIR}/${file})
    add_executable(${name}_avx512_emulated ${file} $<TARGET_OBJECTS:rk_emulated>)
    target_include_directories(${name}_avx512_emulated PRIVATE src tests)
    target_compile_definitions(${name}_avx512_emulated PRIVATE
      RK_SOURCE_DIR="${CMAKE_SOURCE_DIR}" RK_EMULATE_AVX512)
    target_link_libraries(${name}_avx512_emulated PRIVATE rk_static PkgConfig::CMOCKA)
    add_test(NAME ${name}_avx512_emulated COMMAND ${name}_avx512_emulated)
    rk_label_test(${name}_avx512_emulated ${CMAKE_SOURCE_DIR}/${file})
  endif()
endforeach()
